"""Payloads of version 1 in hexadecimal, of `picture(20, 28, dtype)` at a ratio, and the SHA-256 of their pixels."""

GOLDEN = {
    ("uint8", 6): (
        (
            "0100141c803f030449f4c51c884d41889b37f9960dd712e883c2266acf63fcfe5305f8b49263d223f369114fb0ce288e"
            "c0d4d34b7049270048ebc5f537c2473e6c4a91192a9890a339bd54e8ac145e003973dc72b5fbb16eb9dff650c3"
        ),
        "106c9b321608f48d9b2f232a87ad43ab1244be883948370e4d41a18025d97332",
    ),
    ("int16", 10): (
        (
            "1103141c2c7ea401467ee59d33a3c1b2fb23e5e3b7511c88da0d0a7acfb55cd208b71ae1729a6c3e62cdaa8367be2cb8"
            "36d82116d5a6b80776e071c35171e1f014115014722fa2667adb69d640e8fccb4c0f9189f48f28e101f9edf51fbf9428"
            "f974af432f94eead129a30f431519456"
        ),
        "dc1c4dd519bafc3caa8abc65d1d5e4b357f5f48fd8ce93d6b2d92a1be861acb1",
    ),
}
