"""Numbers of Preechakul et al. (2022), on FFHQ and CelebA-HQ at 128x128."""

# Table 1: model, length of the code, SSIM, LPIPS, mean squared error.
TABLE1 = (
    ("StyleGAN2 (W)", 512, 0.677, 0.168, 0.016),
    ("StyleGAN2 (W+)", 7_168, 0.827, 0.114, 0.006),
    ("VQ-GAN", 65_536, 0.782, 0.109, 3.61e-3),
    ("VQ-VAE2", 327_680, 0.947, 0.012, 4.87e-4),
    ("NVAE", 6_005_760, 0.984, 0.001, 4.85e-5),
    ("DDIM, T = 100", 49_152, 0.917, 0.063, 0.002),
    ("diffusion autoencoder, T = 100, vector alone", 512, 0.677, 0.073, 0.007),
    ("diffusion autoencoder, T = 100", 49_664, 0.991, 0.011, 6.07e-5),
)
# Table 2: number of steps -> SSIM, LPIPS, mean squared error, which it gives with three digits.
_STEPS = (10, 20, 50, 100)


def _rows(ssim, lpips, mse):
    return dict(zip(_STEPS, zip(ssim, lpips, mse, strict=True), strict=True))


TABLE2 = {
    "DDIM": _rows(
        (0.600, 0.760, 0.878, 0.917), (0.227, 0.148, 0.087, 0.063), (0.019, 0.008, 0.003, 0.002)
    ),
    "ours": _rows(
        (0.827, 0.927, 0.978, 0.991), (0.078, 0.050, 0.023, 0.011), (0.001, 0.001, 0.000, 6.07e-5)
    ),
    "ours, random latents": _rows(
        (0.707, 0.695, 0.683, 0.677), (0.085, 0.078, 0.074, 0.073), (0.006, 0.007, 0.007, 0.007)
    ),
}
# Table 2 b to e, after 48 million images: length of the vector -> SSIM, LPIPS, mean squared error
# of random latents with 10 steps.
TABLE2_DIMS = {
    64: (0.551, 0.168, 0.018),
    128: (0.613, 0.133, 0.012),
    256: (0.637, 0.116, 0.010),
    512: (0.662, 0.102, 0.009),
}
# Tables 5 and 6, of CelebA at 64x64, and Table 7: images a second of a V100 in training, of DDIM
# and of the diffusion autoencoder.
TABLE5_6 = {
    "image": "64x64",
    "decoder, channels": "64, 128, 256, 512",
    "encoder, channels": "64, 128, 256, 512, 512",
    "attention at": "16x16",
    "semantic vector": "512",
    "images trained": "72,000,000",
    "batch": "128",
    "predicts": "noise",
    "loss": "mean_squared_error",
    "schedule": "linear",
    "prior, layers": "10",
    "prior, width": "2,048",
    "prior, vectors trained": "300,000,000",
    "prior, batch": "512",
    "prior, loss": "mean_absolute_error",
    "prior, schedule": "constant",
}
TABLE7 = {"FFHQ 64": (160, 128), "FFHQ 128": (51, 41.65)}
# Table 8: AUROC of the semantic vector, by attribute; and the averages, macro and by positives.
TABLE8 = {
    "5_o_Clock_Shadow": 0.96, "Arched_Eyebrows": 0.88, "Attractive": 0.90, "Bags_Under_Eyes": 0.89,
    "Bald": 0.99, "Bangs": 0.98, "Big_Lips": 0.73, "Big_Nose": 0.88, "Black_Hair": 0.96,
    "Blond_Hair": 0.99, "Blurry": 0.90, "Brown_Hair": 0.89, "Bushy_Eyebrows": 0.93, "Chubby": 0.95,
    "Double_Chin": 0.95, "Eyeglasses": 1.00, "Goatee": 0.98, "Gray_Hair": 0.98,
    "Heavy_Makeup": 0.97, "High_Cheekbones": 0.95, "Male": 1.00, "Mouth_Slightly_Open": 0.98,
    "Mustache": 0.97, "Narrow_Eyes": 0.86, "No_Beard": 0.99, "Oval_Face": 0.77, "Pale_Skin": 0.96,
    "Pointy_Nose": 0.74, "Receding_Hairline": 0.94, "Rosy_Cheeks": 0.96, "Sideburns": 0.99,
    "Smiling": 0.99, "Straight_Hair": 0.84, "Wavy_Hair": 0.90, "Wearing_Earrings": 0.92,
    "Wearing_Hat": 0.99, "Wearing_Lipstick": 0.98, "Wearing_Necklace": 0.79,
    "Wearing_Necktie": 0.96, "Young": 0.94,
}  # fmt: skip
TABLE8_AVERAGES = (("semantic vector", 0.93, 0.92), ("StyleGAN's W", 0.89, 0.89))
# Table 9: FID of negative and positive, manipulated and positive, manipulated and negative images.
TABLE9 = {
    "Male": (95.82, 52.85, 23.15),
    "Smiling": (11.15, 9.19, 7.25),
    "Wavy_Hair": (25.04, 20.80, 4.89),
    "Young": (36.75, 20.68, 11.81),
    "Blond_Hair": (39.65, 33.51, 6.79),
}
# Table 10: cosine similarity of ArcFace's descriptors.
TABLE10 = {"Male": 0.6247, "Smiling": 0.8160, "Wavy_Hair": 0.9821, "Young": 0.8922}
# Appendix F: perceptual path lengths of DDIM over the autoencoder's.
PATH_LENGTH_RATIO = 2634.14 / 613.73
# Appendix L: accuracy of fake detection, by kind and number of steps.
DETECTION = {
    "sampled": {100: 0.9551, 200: 0.9483, 500: 0.9313},
    "manipulated": {100: 0.9950, 200: 0.9643, 500: 0.9213},
}
# Table 4, CelebA at 64x64: model -> number of steps -> FID.
TABLE4 = {
    model: dict(zip(_STEPS, values, strict=True))
    for model, values in {
        "DDIM": (16.38, 12.70, 8.52, 5.83),
        "ours": (12.92, 10.18, 7.05, 5.30),
        "+ autoencoding": (12.78, 9.06, 5.15, 3.11),
    }.items()
}
# Table 3, CelebA at 64x64: scenario and class -> FID, that of D2C, that of all images.
TABLE3 = {
    ("binary", "Male"): (11.52, 13.44, 23.83),
    ("binary", "not Male"): (7.29, 9.51, 13.64),
    ("binary", "Blond_Hair"): (16.10, 17.61, 25.62),
    ("binary", "not Blond_Hair"): (8.48, 8.94, 0.96),
    ("positive-unlabelled", "Male"): (9.54, 16.39, 23.83),
    ("positive-unlabelled", "not Male"): (9.21, 12.21, 13.64),
    ("positive-unlabelled", "Blond_Hair"): (7.01, 10.09, 25.62),
    ("positive-unlabelled", "not Blond_Hair"): (7.91, 9.09, 0.96),
}
# A.1, of images of horses: FID by schedule and loss, then of 15 and 20 layers instead of 10, then
# of layers one and a half and two times as wide.
ABLATION = (11.65, 13.36, 10.16, 10.50, 9.58, 9.30, 9.57, 9.43)
