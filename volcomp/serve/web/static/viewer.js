// The viewer of a series: which of the kinds can show it.

import { asked, host, make, stack } from "./common.js";
import { Flat } from "./flat.js";
import { plain } from "./plain.js";
import { Volume } from "./volume.js";

// The largest side that a texture of this browser may have; 0 without WebGL2.
function largest() {
  const gl = document.createElement("canvas").getContext("webgl2");
  if (!gl) return 0;
  const side = gl.getParameter(gl.MAX_3D_TEXTURE_SIZE);
  gl.getExtension("WEBGL_lose_context")?.loseContext();
  return side;
}

async function open() {
  let layout = await (await asked(`layout.json?stack=${stack}`)).json();
  if (layout.colour) return plain(layout, "");
  const side = window.niivue ? largest() : 0;
  if (!side) return plain(layout, "Slices are shown as pictures: this browser has no WebGL2.");
  const Kind = host.dataset.large === "1" || Math.max(...layout.shape) > side ? Flat : Volume;
  try {
    await new Kind(layout).start();
  } catch (error) {
    if (error.status !== 422 || layout.type === "float32" || host.dataset.state) throw error;
    layout = await (await asked(`layout.json?stack=${stack}&type=float32`)).json(); // values beyond what headers tell
    await new Kind(layout).start();
  }
}

open().catch((error) => {
  document.getElementById("plain").hidden = false;
  host.prepend(make("p", { className: "notice bad", role: "alert", textContent: `The viewer stopped: ${error.message}.` }));
  host.dataset.state = "failed";
});
