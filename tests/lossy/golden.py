"""Payloads of version 1 in hexadecimal, of `picture(20, 28, dtype)` at a ratio, and the SHA-256 of their pixels."""

GOLDEN = {
    ("uint8", 6): (
        (
            "0100141ca84004044c6575d0d67baf2ca98b674b254d759d890abe6843922045e3686665ba95dcd7e891a1b2014ee460"
            "1325f020e52cafa968519caa3f6428612824d3f0fe32e7f3a08527d20f73fe3647ab253911be43e5e82eeb4193"
        ),
        "378a19225eb3b446a391225ec3a837bc3dd9bce9e041788a42015ea94c6ff99c",
    ),
    ("int16", 10): (
        (
            "1103141ce67e65024792a327fe0a7c1c201cf7be74573b23a948a45aac48a9bda12552674e6690d704f6c5a4c7a40ff8"
            "7329204036ae2d2a295ba1c8eb924257f96408c66acdd94fd80df2caca85116a6579350c88716b4ea8554436a739cdab"
            "b8800e3055a728bf45a409065b7ecc"
        ),
        "6fbce8e2464ddccad2fdcdef53a5cd92f27cd8143b477dfd2cd4428267f1f407",
    ),
}
