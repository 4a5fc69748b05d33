"""The bench of single images: yardsticks, coder, exact synthesis, every codec, differences, a run that goes on."""

import json
import subprocess
import sys
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

torch = pytest.importorskip("torch")
for needed in ("matplotlib", "pywt", "skimage", "sklearn", "imagecodecs", "PIL"):
    pytest.importorskip(needed)

from benchmarks.report import read_rows  # noqa: E402
from experiments import results  # noqa: E402
from experiments.config import ConfigError  # noqa: E402
from experiments.images import (  # noqa: E402
    codec,
    config,
    data,
    delta,
    figures,
    initial,
    klt,
    layers,
    losses,
    metrics,
    networks,
    recipes,
    registry,
    roi,
    rwnet,
    svd,
    symbols,
    synthesis,
    vq,
    wavelets,
    work,
)
from experiments.images.__main__ import main  # noqa: E402
from experiments.images.autoencoders import Autoencoder, TwoStages  # noqa: E402
from volcomp.errors import DamagedError, UnsupportedError, VolcompError  # noqa: E402
from volcomp.training.corpus import ROOT  # noqa: E402

SMOKE = ROOT / "experiments" / "configs" / "images_smoke.toml"
CPU = ROOT / "experiments" / "configs" / "images_cpu.toml"
SIDE = 64


@pytest.fixture(scope="module")
def made() -> config.ImagesConfig:
    return config.load(SMOKE)


@pytest.fixture(scope="module")
def images(made: config.ImagesConfig) -> list[np.ndarray]:
    return [image.pixels for image in data.split(made, "train")]


def _random(side: int = SIDE, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (side, side), dtype=np.uint8)


# Yardsticks


def test_rates_of_a_file() -> None:
    image = np.zeros((10, 20), np.uint8)
    assert metrics.bits_per_pixel(25, image) == 1.0
    assert metrics.ratio(25, image) == 8.0
    assert metrics.space_saving(25, image) == pytest.approx(1 - 1 / 8)


def test_errors_of_a_constant_difference() -> None:
    image = np.full((32, 32), 100, np.uint8)
    other = image + np.uint8(51)
    assert metrics.mse(image, other) == pytest.approx(0.04)
    assert metrics.mse(other, image) == metrics.mse(image, other)  # no sign is lost in uint8
    assert metrics.psnr(image, other) == pytest.approx(10 * np.log10(25))
    assert metrics.psnr_as_printed(image, other) == pytest.approx(10 * np.log10(32 * 32 / 51**2))
    assert metrics.largest_error(image, other) == 51
    assert metrics.iou(image, other) == pytest.approx(100 / 151)
    assert metrics.psnr(image, image) == float("inf")


def test_what_is_printed_as_psnr_is_near_it_for_256_pixels_only() -> None:
    gaps = []
    for side in (256, 64):
        image = _random(side)
        other = image // 2
        gaps.append(metrics.psnr_as_printed(image, other) - metrics.psnr(image, other))
    assert gaps[0] == pytest.approx(10 * np.log10(256**2 / 255**2))
    assert gaps[1] == pytest.approx(10 * np.log10(64**2 / 255**2))


def test_ssim_is_that_of_scikit_image(images: list[np.ndarray]) -> None:
    from skimage.metrics import structural_similarity

    image, other = images[0], (images[0] // 12 * 12).astype(np.uint8)
    _, full = structural_similarity(
        image, other, data_range=255, gaussian_weights=True, sigma=1.5, use_sample_covariance=False, full=True
    )
    assert metrics.ssim(image, other) == pytest.approx(float(full[5:-5, 5:-5].mean()), abs=1e-6)
    assert metrics.ssim(image, image) == pytest.approx(1)


def test_ms_ssim_has_one_scale_for_small_images_and_five_for_large_ones() -> None:
    image = _random(16)
    other = (image // 3 + 40).astype(np.uint8)
    assert metrics.ms_ssim(image, other) == pytest.approx(metrics.ssim(image, other))
    large, changed = _random(192), _random(192, seed=1)
    assert metrics.ms_ssim(large, large) == pytest.approx(1)
    assert 0 <= metrics.ms_ssim(large, changed) < 0.2


def test_the_loss_is_near_the_yardstick() -> None:
    image = data.split(replace(config.load(SMOKE), side=192), "train")[0].pixels
    other = (image // 10 * 10).astype(np.uint8)
    x, y = (torch.from_numpy(one / 255).float()[None, None] for one in (other, image))
    assert float(losses.ms_ssim(x, y)) == pytest.approx(metrics.ms_ssim(image, other), abs=0.01)
    assert float(losses.one_minus_iou(x, y)) == pytest.approx(1 - metrics.iou(image, other), abs=1e-5)
    assert float(losses.one_minus_ms_ssim(y, y)) == pytest.approx(0, abs=1e-5)


def test_divergence_of_histograms() -> None:
    image = _random()
    assert metrics.divergence(image, image) == 0
    assert metrics.divergence(image, np.sort(image.ravel()).reshape(image.shape)) == 0
    assert metrics.divergence(image, image // 2) > 1


def test_a_cross_entropy_has_a_floor() -> None:
    image = _random()
    floor = metrics.cross_entropy_floor(image)
    assert metrics.cross_entropy(image, image) == pytest.approx(floor, abs=1e-3)
    assert metrics.cross_entropy(image, 255 - image) > floor + 0.1
    assert metrics.cross_entropy_floor(np.full((4, 4), 128, np.uint8)) == pytest.approx(np.log(2), abs=1e-4)
    assert metrics.cross_entropy_floor(np.array([[0, 255]], np.uint8)) == 0


def test_bd_rate() -> None:
    rates, errors = [0.25, 0.5, 1.0], [30.0, 33.0, 36.0]
    assert metrics.bd_rate([r / 2 for r in rates], errors, rates, errors) == pytest.approx(-50)
    assert metrics.bd_rate(rates, errors, rates, errors) == pytest.approx(0)
    assert np.isnan(metrics.bd_rate(rates, [e + 20 for e in errors], rates, errors))


# The coder of planes

SHAPES = [(4, 6), (4, 6), (8, 12), (1, 1)]


def _planes(seed: int, scale: float) -> list[np.ndarray]:
    random = np.random.default_rng(seed)
    return [random.laplace(0, scale, shape).round().astype(np.int32) for shape in SHAPES]


@pytest.fixture(scope="module")
def coder() -> symbols.Coder:
    return symbols.Coder.fitted([_planes(seed, 3) for seed in range(8)])


@settings(max_examples=20)
@given(st.integers(0, 1 << 20), st.sampled_from([0.1, 3.0, 1e4]))
def test_planes_come_back(coder: symbols.Coder, seed: int, scale: float) -> None:
    planes = _planes(seed, scale)  # of the last scale, most values are escaped
    back = coder.decode(coder.encode(planes), SHAPES)
    assert all(np.array_equal(a, b) for a, b in zip(back, planes, strict=True))


def test_fitted_tables_are_worth_having(coder: symbols.Coder) -> None:
    planes = _planes(99, 3)
    values = np.concatenate([plane.ravel() for plane in planes])
    assert len(coder.encode(planes)) < values.size  # 4.0 bits of entropy, and 8 bytes of state
    smooth = [[np.add.outer(np.arange(32), np.arange(32)).astype(np.int32) + k] for k in range(3)]
    assert symbols.Coder.fitted(smooth).predict.all()


@settings(max_examples=60)
@given(st.binary(max_size=80))
def test_bytes_of_no_encoder_are_refused(coder: symbols.Coder, given_bytes: bytes) -> None:
    try:
        coder.decode(given_bytes, SHAPES)
    except DamagedError:
        return
    # What is not refused is what an encoder writes.
    assert coder.encode(coder.decode(given_bytes, SHAPES)) == given_bytes


# Networks in integers


def _weights(of: layers.Layers, seed: int = 0) -> dict[str, np.ndarray]:
    torch.manual_seed(seed)
    return {key: value.numpy() for key, value in networks.network(of).state_dict().items()}


@pytest.mark.parametrize(
    "pair", [layers.pooled_pair(4), layers.strided_pair(4), layers.cnn_pair(64, 6, (4, 4, 4)), layers.dense_pair(64, 5)]
)
def test_integers_do_what_torch_does(pair: layers.Pair) -> None:
    weights = _weights(pair.decoder)
    latents = np.random.default_rng(1).integers(
        -16, 17, (pair.latents, *([64 // pair.scale] * 2 if pair.scale else []))
    )
    mine = synthesis.Network(pair.decoder, weights)(synthesis.fixed(latents, 256)) / (1 << synthesis.ACTIVATION)
    theirs = networks.load(pair.decoder, weights)(torch.from_numpy(latents / 16).float()[None])[0].numpy()
    assert mine.shape == theirs.shape
    assert np.abs(mine - theirs).max() < 0.01


def test_sigmoids_and_wavelets_in_integers() -> None:
    pair = layers.wavelet_pair(4, 2)
    weights = _weights(pair.decoder)
    latents = np.random.default_rng(1).integers(-16, 17, (2, 8, 8))
    numbers = synthesis.Network(pair.decoder, weights)(synthesis.fixed(latents, 256))[0]
    theirs = networks.load(pair.decoder, weights)(torch.from_numpy(latents / 16).float()[None])[0, 0].numpy()
    mine = synthesis.grey_of_sigmoid(numbers, synthesis.thresholds())
    assert np.abs(mine - 255 * theirs).max() < 1.1
    assert mine.min() < mine.max()


def test_haar_and_its_inverse() -> None:
    x = torch.rand(2, 3, 8, 8)
    assert torch.allclose(networks.Idwt()(networks.Dwt()(x)), x, atol=1e-6)


def test_a_convolution_is_exact() -> None:
    """The sum in Python's integers, whose order is another one."""
    weights = _weights((layers.conv(3, 2),))
    x = np.random.default_rng(0).integers(-(1 << 20), 1 << 20, (3, 5, 5))
    found = synthesis.Network((layers.conv(3, 2),), weights)(x.astype(np.float64))
    whole = (weights["0.weight"].astype(np.float64) * (1 << synthesis.WEIGHT)).round().astype(int).tolist()
    bias = (weights["0.bias"].astype(np.float64) * (1 << (synthesis.WEIGHT + synthesis.ACTIVATION))).round()
    total = int(bias[1])
    for c in range(3):
        for dy in range(3):
            for dx in range(3):
                total += whole[1][c][dy][dx] * int(x[c, 1 + dy, dx])
    expected = (total + (1 << (synthesis.WEIGHT - 1))) >> synthesis.WEIGHT
    assert found[1, 2, 1] == max(-synthesis.BOUND, min(synthesis.BOUND, expected))


def test_weights_whose_sums_would_not_be_exact_are_refused() -> None:
    weights = _weights((layers.dense(4, 4),))
    weights["0.weight"] = weights["0.weight"] * 1e7
    with pytest.raises(UnsupportedError, match="too large"):
        synthesis.Network((layers.dense(4, 4),), weights)


# First weights, and losses that can be followed from them


@pytest.mark.parametrize("name", recipes.recipes(config.load(SMOKE)))
def test_first_latents_tell_images_apart(name: str, made: config.ImagesConfig) -> None:
    """With torch's own first weights, the noise is fifty times what the images change, and a network ignores them."""
    recipe = recipes.recipes(made)[name]
    x = torch.from_numpy(data.stacked(made, "train")).float().unsqueeze(1) / 255
    torch.manual_seed(0)
    encoder, decoder = networks.network(recipe.pair.encoder), networks.network(recipe.pair.decoder)
    initial.prepare(encoder, decoder, x, x / 2)
    with torch.no_grad():
        latents = encoder(x)
        output = decoder(latents)
        noisy = decoder(latents + (torch.rand_like(latents) - 0.5) * recipe.step)
    assert latents.std(0).mean() > max(recipe.step, 0.02)
    assert (output - output.mean(0)).std() > 3 * (noisy - output).std()
    assert output.mean() == pytest.approx(float(x.mean()) / 2, abs=0.02)
    assert 0.005 < output.std() < 0.2


def test_no_channel_of_first_weights_is_dead(made: config.ImagesConfig) -> None:
    x = torch.from_numpy(data.stacked(made, "train")).float().unsqueeze(1) / 255
    torch.manual_seed(0)
    layer = networks.network((layers.conv(1, 16), layers.RELU, layers.residual(layers.conv(16, 16), layers.RELU)))
    initial.scale(layer, x)
    for depth in (2, 3):
        found = layer[:depth](x)
        assert (found.amax((0, 2, 3)) > 0).all() and float(found.detach().std()) == pytest.approx(0.6, abs=0.4)


def test_ms_ssim_can_be_followed_from_the_opposite_of_an_image(made: config.ImagesConfig) -> None:
    image = torch.from_numpy(data.stacked(made, "train")[:1]).float().unsqueeze(1) / 255
    opposite = (1 - image).requires_grad_()
    before = losses.ms_ssim(opposite, image)
    before.backward()
    assert opposite.grad is not None and opposite.grad.abs().max() > 0
    step = opposite.grad / opposite.grad.norm()
    assert losses.ms_ssim(opposite.detach() + step, image) > before
    assert losses.power(torch.tensor(0.25), torch.tensor(0.5)) == 0.5
    around = losses.power(torch.tensor([losses.FLOOR - 1e-6, losses.FLOOR + 1e-6]), torch.tensor(0.3))
    assert around[0] == pytest.approx(float(around[1]), rel=1e-4)


@pytest.mark.parametrize("name", ["cnn1", "cae16", "rwnet"])
def test_trainings_begin_with_first_weights_of_this_kind(name: str, made: config.ImagesConfig, tmp_path: Path) -> None:
    recipes.run(replace(made, epochs={name: 1}, minutes=1e9), name, tmp_path)
    recipe = recipes.recipes(made)[name]
    encoder = networks.load(recipe.pair.encoder, networks.weights_of(recipes.weights_path(tmp_path, name), "encoder"))
    latents = encoder(torch.from_numpy(data.stacked(made, "train")).float().unsqueeze(1) / 255)
    assert latents.std(0).mean() > max(recipe.step, 0.02)


def test_a_second_stage_learns_what_the_first_one_leaves(made: config.ImagesConfig, tmp_path: Path) -> None:
    longer = replace(made, epochs={"two_stage": 10, "two_stage.second": 200}, minutes=1e9)
    for name in ("two_stage", "two_stage.second"):
        recipes.run(longer, name, tmp_path)
    pair = recipes.recipes(made)["two_stage"].pair
    first = Autoencoder("first", pair, recipes.weights_path(tmp_path, "two_stage"), 1 / 16, SIDE)
    both = registry.codec(made, tmp_path, "two_stage", 1 / 16)
    image = data.split(made, "train")[0].pixels
    assert metrics.mse(image, both.decode(both.encode(image))) < 0.9 * metrics.mse(
        image, first.synthesise(first.analyse(image))
    )


# Codecs


def _save(path: Path, pair: layers.Pair) -> Path:
    torch.manual_seed(0)
    networks.save(path, encoder=networks.network(pair.encoder), decoder=networks.network(pair.decoder))
    return path


@pytest.fixture(scope="module")
def codecs(tmp_path_factory: pytest.TempPathFactory, images: list[np.ndarray]) -> dict[str, codec.PlanesCodec]:
    """Every kind of codec, with networks that nobody has trained."""
    folder = tmp_path_factory.mktemp("weights")
    cnn, wavelet = layers.cnn_pair(SIDE, 6, (4, 4, 4)), layers.wavelet_pair(4, 2)
    torch.manual_seed(0)
    networks.save(folder / "klt.npz", correction=networks.network(layers.correction(4)))
    first, second = _save(folder / "a.npz", cnn), _save(folder / "b.npz", cnn)
    third = _save(folder / "c.npz", wavelet)
    vectors = klt.basis(images)
    every: list[codec.PlanesCodec] = [
        Autoencoder("cnn", cnn, first, 1 / 64, SIDE),
        Autoencoder("cae", layers.pooled_pair(4), _save(folder / "d.npz", layers.pooled_pair(4)), 1 / 64, SIDE),
        TwoStages("two", (cnn, cnn), (first, second), 1 / 64, SIDE),
        rwnet.Rwnet("rwnet", wavelet, third, 1 / 64),
        rwnet.Rwnet("rwnet_anlm_svd", wavelet, third, 1 / 64, 0.8, 8),
        svd.Svd("svd", 10),
        wavelets.Wavelet("haar", "haar", 8),
        wavelets.Wavelet("dwt", "bior4.4", 8),
        vq.Vq("vq", vq.codebook(images, 8, 200)),
        klt.Klt("klt_plain", vectors, 8),
        klt.Klt("klt", vectors, 8, 4, folder / "klt.npz"),
    ]
    for one in every:
        one.fit(images[:3])
    return {one.name: one for one in every}


NAMES = ("cnn", "cae", "two", "rwnet", "rwnet_anlm_svd", "svd", "haar", "dwt", "vq", "klt_plain", "klt")
TRANSFORMS = ("svd", "haar", "dwt", "klt_plain")


@pytest.mark.parametrize("name", NAMES)
def test_a_codec_decodes_what_it_encodes(
    name: str, codecs: dict[str, codec.PlanesCodec], images: list[np.ndarray]
) -> None:
    one, image = codecs[name], images[4]
    coded = one.encode(image)
    back = one.decode(coded)
    assert back.shape == image.shape and back.dtype == np.uint8
    filled = one._filled(image)
    assert np.array_equal(back, one.synthesise(one.analyse(filled)))  # the planes survive
    if name in TRANSFORMS:
        assert metrics.mse(image, back) < 0.001


@pytest.mark.parametrize("name", TRANSFORMS)
def test_sides_may_be_odd(name: str, codecs: dict[str, codec.PlanesCodec], images: list[np.ndarray]) -> None:
    image = np.ascontiguousarray(images[0][:37, :51])
    back = codecs[name].decode(codecs[name].encode(image))
    assert back.shape == image.shape
    assert metrics.mse(image, back) < 0.002


@pytest.mark.parametrize("name", NAMES)
def test_damaged_files_are_refused_or_decode(
    name: str, codecs: dict[str, codec.PlanesCodec], images: list[np.ndarray]
) -> None:
    one = codecs[name]
    coded = one.encode(images[1])
    with pytest.raises(DamagedError):
        one.decode(coded[:-5])
    with pytest.raises(DamagedError):
        one.decode(b"")
    random = np.random.default_rng(0)
    for _ in range(4):
        changed = bytearray(coded)
        changed[random.integers(len(changed))] ^= 1 << int(random.integers(8))
        with suppress(DamagedError):
            one.decode(bytes(changed))


def test_a_network_for_one_size_refuses_others(codecs: dict[str, codec.PlanesCodec]) -> None:
    with pytest.raises(UnsupportedError, match="64×64"):
        codecs["cnn"].encode(np.zeros((32, 64), np.uint8))
    coded = bytearray(codecs["cnn"].encode(np.zeros((64, 64), np.uint8)))
    coded[0] = 32
    with pytest.raises(DamagedError, match="size"):
        codecs["cnn"].decode(bytes(coded))


def test_synthesis_matrices_are_pywavelets_own(images: list[np.ndarray]) -> None:
    import pywt

    one = wavelets.Wavelet("dwt", "bior4.4", 1 / 256)
    planes = [plane / 1.0 for plane in one.analyse(images[0])]
    bands = [planes[0] / 256, *(tuple(p / 256 for p in planes[k : k + 3]) for k in range(1, len(planes), 3))]
    theirs = pywt.waverec2(bands, "bior4.4", wavelets.MODE) + wavelets.MIDDLE
    assert np.abs(one.synthesise(one.analyse(images[0])) - theirs.clip(0, 255)).max() < 0.6


def test_denoising_takes_noise_away(images: list[np.ndarray]) -> None:
    smooth = rwnet.denoised(images[0], 0.8)
    assert np.abs(np.diff(smooth.astype(int))).mean() < 0.8 * np.abs(np.diff(images[0].astype(int))).mean()
    assert metrics.mse(rwnet.truncated(images[0], SIDE), images[0]) == 0


# A region of interest


def _with_detail(top: int, left: int, side: int = SIDE) -> np.ndarray:
    y, x = np.mgrid[:side, :side]
    image = (40 + y + x).astype(np.uint8)
    half = side // 2
    image[top : top + half, left : left + half] = np.random.default_rng(0).integers(0, 256, (half, half))
    return image


@pytest.mark.parametrize(("top", "left"), [(0, 0), (16, 8), (32, 32)])
def test_a_region_is_where_the_detail_is(top: int, left: int) -> None:
    image = _with_detail(top, left)
    box = roi.box_of(image)
    assert (box.rows, box.columns) == (slice(top, top + 32), slice(left, left + 32))
    filled = roi.smoothed_over(image, box)
    outside = np.ones(image.shape, bool)
    outside[box] = False
    assert np.array_equal(filled[outside], image[outside])
    if (top, left) == (16, 8):  # what is around is a plane, which the patch continues
        y, x = np.mgrid[:SIDE, :SIDE]
        assert np.array_equal(filled, 40 + y + x)
    assert np.abs(np.diff(filled.astype(int), axis=0)).max() < 64


@pytest.mark.parametrize("name", ["roi_lossy", "roi_jpeg2000"])
def test_inside_is_exact_and_outside_is_not(name: str, made: config.ImagesConfig, tmp_path: Path) -> None:
    image = data.split(made, "train")[0].pixels
    rough, fine = (registry.codec(made, tmp_path, name, point) for point in (16, 4))
    coded = rough.encode(image)
    back = rough.decode(coded)
    found = work.measures(image, back, len(coded))
    assert found["mse_inside"] == 0 and found["mse_outside"] > 0
    assert found["mse"] == pytest.approx(found["mse_outside"] * 3 / 4)
    assert np.array_equal(back[roi.box_of(image)], image[roi.box_of(image)])
    assert len(fine.encode(image)) > len(coded) > image.size / 16
    assert metrics.mse(image, fine.decode(fine.encode(image))) < found["mse"]


@pytest.mark.parametrize("shape", [(37, 51), (2, 2), (3, 64)])
def test_regions_of_images_of_any_sides(shape: tuple[int, int]) -> None:
    image = np.ascontiguousarray(_with_detail(16, 8)[: shape[0], : shape[1]])
    one = roi.Roi("roi", registry.Released(0.1))
    back, box = one.decode(one.encode(image)), roi.box_of(image)
    assert back.shape == image.shape and np.array_equal(back[box], image[box])
    assert back[box].shape == (shape[0] // 2, shape[1] // 2)


def test_damaged_regions_are_refused() -> None:
    one, image = roi.Roi("roi", registry.Released(8)), _with_detail(16, 8)
    coded = one.encode(image)
    for bad in (b"", coded[:-4], coded[:40], b"\x05" + coded[1:]):  # cut; a box that leaves the image
        with pytest.raises(DamagedError):
            one.decode(bad)
    inside = delta.volcomp_bytes(np.zeros((8, 8), np.uint8), None, roi.MODEL)
    whole = delta.volcomp_bytes(np.ascontiguousarray(image[roi.box_of(image)]), None, roi.MODEL)
    with pytest.raises(DamagedError, match="another size"):
        one.decode(coded[: -len(whole)] + inside)
    with pytest.raises(UnsupportedError):
        one.encode(image[:1])


# Without loss


@pytest.mark.parametrize("name", delta.CODERS)
def test_differences_are_lossless(name: str, images: list[np.ndarray]) -> None:
    image = images[0].copy()
    image[:4], known = 0, _random()
    known[:2] = 255  # differences that leave a byte
    for reconstruction in (known, image):
        coded = delta.CODERS[name].encode(image, reconstruction)
        assert np.array_equal(delta.CODERS[name].decode(coded, reconstruction), image)


def test_context_pays_and_a_file_is_whole(codecs: dict[str, codec.PlanesCodec], images: list[np.ndarray]) -> None:
    image, lossy = images[2], codecs["dwt"]
    known = lossy.decode(lossy.encode(image))
    alone = len(delta.volcomp_bytes(image, None))
    assert len(delta.volcomp_bytes(image, known)) < alone
    whole = delta.Lossless(lossy, delta.CODERS["context"])
    coded = whole.encode(image)
    assert np.array_equal(whole.decode(coded), image)
    assert len(coded) > len(lossy.encode(image)) + len(delta.volcomp_bytes(image, known))
    with pytest.raises(DamagedError):
        whole.decode(coded[:-3])


def test_a_difference_of_huffman_codes_that_is_cut_is_refused() -> None:
    image = _random()
    coded = delta.CODERS["huffman"].encode(image, image // 2)
    with pytest.raises(DamagedError):
        delta.CODERS["huffman"].decode(coded[:-9], image // 2)


# Runs


@pytest.mark.parametrize("path", [SMOKE, CPU], ids=lambda path: path.stem)
def test_configurations_of_images_are_sound(path: Path) -> None:
    loaded = config.load(path)
    assert loaded.name == path.stem
    assert set(loaded.points) == set(registry.SYSTEMS)
    assert set(loaded.deltas) <= set(loaded.points)
    nets = {net for system in registry.SYSTEMS.values() for net in system.nets}
    assert set(loaded.epochs) | {"dense128"} == nets
    assert all(loaded.deltas[name] in loaded.points[name] for name in loaded.deltas)


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        ('source = "made"', 'source = "elsewhere"', "not known"),
        ("side = 64", "side = 60", "that 64 divides"),
        ('name = "images_smoke"', "", "no configuration"),
        ("valid = 1", "valid = ", "cannot be read"),
    ],
)
def test_bad_configurations_of_images_are_refused(before: str, after: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "c.toml"
    path.write_text(SMOKE.read_text().replace(before, after))
    with pytest.raises(ConfigError, match=message):
        config.load(path)
    assert main(["--config", str(path), "--plan"]) == 1


def test_images_that_are_missing_are_asked_for(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("VOLCOMP_IMAGES", str(tmp_path))
    with pytest.raises(VolcompError, match="VOLCOMP_IMAGES"):
        data.split(replace(config.load(CPU), train=1234), "train")


class _Stopped(Exception):
    pass


@pytest.mark.parametrize("name", ["cae16", "two_stage"])
def test_a_stopped_training_ends_like_one_that_was_not(name: str, made: config.ImagesConfig, tmp_path: Path) -> None:
    longer = replace(made, epochs={name: 2}, minutes=1e9)

    def stop(share: float) -> None:
        raise _Stopped

    with pytest.raises(_Stopped):
        recipes.run(longer, name, tmp_path / "a", stop)
    assert recipes.weights_path(tmp_path / "a", name).with_suffix(".pt").exists()
    found = recipes.run(longer, name, tmp_path / "a")
    assert found["epochs"] == 2 and found["loss"] > 0
    recipes.run(longer, name, tmp_path / "b")
    a, b = (networks.weights_of(recipes.weights_path(tmp_path / f, name), "decoder") for f in "ab")
    assert all(np.array_equal(a[key], b[key]) for key in a)
    assert recipes.run(longer, name, tmp_path / "a") == found  # and is not done again


def test_a_dense_network_is_the_principal_components(made: config.ImagesConfig, tmp_path: Path) -> None:
    found = recipes.run(made, "dense128", tmp_path)
    assert found["loss"] < 1e-4  # six images lie in five dimensions about their mean
    image = data.split(made, "train")[0].pixels
    one = registry.codec(made, tmp_path, "dense128", 1 / 64)
    assert metrics.mse(image, one.decode(one.encode(image))) < 1e-4


def test_jobs_come_after_those_that_they_need(made: config.ImagesConfig) -> None:
    planned = work.plan(made)
    by = {job.subject: job for job in planned if job.kind in ("train", "curve")}
    assert work.depends(by["two_stage.second"], by["two_stage"]) and not work.depends(by["rwnet"], by["cnn1"])
    assert work.depends(by["rwnet_svd@0.0625"], by["rwnet"]) and not work.depends(by["haar@16"], by["klt"])
    left = list(planned)
    while left:  # what comes first in the plan never waits for what comes later
        first = left.pop(0)
        assert not any(work.depends(first, other) for other in left)


def test_systems_that_are_not_known_are_refused(made: config.ImagesConfig) -> None:
    with pytest.raises(ConfigError, match="magic"):
        work.plan(replace(made, points={**made.points, "magic": [1.0]}))


def test_a_fingerprint_is_that_of_what_jobs_find(made: config.ImagesConfig) -> None:
    assert replace(made, points={}, target=0.25).fingerprint() == made.fingerprint()
    assert replace(made, test=7).fingerprint() != made.fingerprint()


def test_every_system_is_drawn_in_a_way_of_its_own() -> None:
    rows = [{"system": name, "split": "test", "bpp": "1", "psnr": "30"} for name in registry.SYSTEMS]
    figure = figures.rate_distortion(rows, "psnr", "dB")
    assert figure is not None
    lines = figure.axes[0].get_lines()
    assert len({(line.get_color(), line.get_linestyle(), line.get_marker()) for line in lines}) == len(lines)
    names = {text.get_text() for text in figure.legends[0].get_texts()}
    assert names == {figures.plain(name) for name in registry.SYSTEMS} and not any("*" in name for name in names)


def test_jobs_have_names_of_their_own(made: config.ImagesConfig) -> None:
    names = [job.name for job in work.plan(made)]
    assert len(names) == len(set(names))


@pytest.mark.long
def test_a_command_works_with_two_processes(tmp_path: Path) -> None:
    """As users call it, since what is spawned cannot import `__main__`."""
    path = tmp_path / "few.toml"
    few = config.load(SMOKE)
    points = "\n".join(["[points]", "haar = [16.0]", "cnn1 = [0.0625]", "svd = [40.0]", "[deltas]", "haar = 16.0"])
    path.write_text(SMOKE.read_text().split("[points]")[0] + points)
    line = [sys.executable, "-m", "experiments.images", "--config", str(path), "--cache", str(tmp_path / "cache")]
    done = subprocess.run([*line, "--results", str(tmp_path / "results"), "--jobs", "2"], cwd=ROOT, check=False)
    assert done.returncode == 0
    assert {row["system"] for row in read_rows(tmp_path / "results" / "curves.csv")} == {"haar", "cnn1", "svd"}
    assert replace(few, points={}).fingerprint() in (tmp_path / "cache" / "config.json").read_text()


@pytest.mark.long
def test_a_run_goes_on_and_reports_from_csv_alone(tmp_path: Path) -> None:
    cache, folder = tmp_path / "cache", tmp_path / "results"
    line = ["--config", str(SMOKE), "--cache", str(cache), "--results", str(folder)]
    loaded = config.load(SMOKE)
    done = work.plan(loaded)[0]  # its rows, if they are there, are not made again
    results.keep(cache, done, {"training": [{"network": "kept", "epochs": 7, "seconds": 1, "loss": 2}]})
    recipes.run(loaded, done.subject, cache)
    assert main(line) == 0
    assert all(results.finished(cache, job) for job in work.plan(loaded))
    assert read_rows(folder / "training.csv")[-1]["network"] != "dense128"
    assert {row["network"] for row in read_rows(folder / "training.csv")} >= {"kept", "klt"}
    curves = read_rows(folder / "curves.csv")
    assert {row["system"] for row in curves} == set(loaded.points)
    assert {row["coder"] for row in read_rows(folder / "lossless.csv")} == set(delta.CODERS)
    first = (folder / "report.md").read_text()
    assert "16:1 at MSE 0.0003" in first and "0.4785" in first and "## regions" in first
    figures = sorted(path.name for path in folder.glob("*.png"))
    assert figures == ["rate_distortion.png", "rate_ms_ssim.png"]
    assert (cache / "sheets" / "images_smoke.png").exists()
    for path in [folder / "report.md", *folder.glob("*.png")]:
        path.unlink()
    assert main([*line, "--report"]) == 0
    assert (folder / "report.md").read_text() == first
    assert sorted(path.name for path in folder.glob("*.png")) == figures
    changed = tmp_path / "other.toml"
    changed.write_text(SMOKE.read_text().replace("rank = 8", "rank = 9"))
    assert main(["--config", str(changed), *line[2:]]) == 1  # another configuration's cache
    assert json.loads((cache / "config.json").read_text())["name"] == "images_smoke"
