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
