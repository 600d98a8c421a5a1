"""PyTorch's way: eager modules, channels_last, bfloat16 by autocast."""

import contextlib
import math

import torch
from torch import nn
from torch.nn import functional

from benchmarks.work import NUM_STEPS

START, END = math.acos(0.95), math.acos(0.02)


def make(piece, size, batch, precision):
    """See `benchmarks.work`."""
    torch.manual_seed(0)
    shape = (batch, size.channels, size.image_size, size.image_size)
    pixels = torch.rand(shape).to(memory_format=torch.channels_last)
    latents = torch.randn(shape).to(memory_format=torch.channels_last)
    denoiser = UNet(size, conditioned=True).to(memory_format=torch.channels_last)

    def autocast():
        if precision == "bfloat16":
            return torch.autocast("cpu", dtype=torch.bfloat16)
        return contextlib.nullcontext()

    if piece == "denoiser_step":
        optimizer = torch.optim.Adam(denoiser.parameters(), 1e-4)

        def step():
            angles = START + torch.rand(batch, 1, 1, 1) * (END - START)
            noises = torch.randn(shape).to(memory_format=torch.channels_last)
            signal, noise = torch.cos(angles), torch.sin(angles)
            optimizer.zero_grad()
            with autocast():
                predicted = denoiser(signal * pixels + noise * noises, noise**2)
            loss = (noises - predicted).abs().mean()
            loss.backward()
            optimizer.step()
            return loss.item()

        return step

    denoiser.eval().requires_grad_(False)

    def decode(noisy):
        for i in range(NUM_STEPS):
            angle = START + (1 - i / NUM_STEPS) * (END - START)
            after = START + (1 - (i + 1) / NUM_STEPS) * (END - START)
            variances = torch.full((batch, 1, 1, 1), math.sin(angle) ** 2)
            with autocast():
                noises = denoiser(noisy, variances)
            images = (noisy - math.sin(angle) * noises) / math.cos(angle)
            noisy = math.cos(after) * images + math.sin(after) * noises
        return images

    if piece == "decode":

        def run():
            with torch.inference_mode():
                return decode(latents)

        return run
    if piece == "gradient":

        def gradient():
            wanted = latents.clone().requires_grad_(True)
            loss = ((decode(wanted) - pixels) ** 2).mean()
            return torch.autograd.grad(loss, wanted)[0]

        return gradient

    embedder = UNet(size, conditioned=False).to(memory_format=torch.channels_last)
    optimizer = torch.optim.Adam(embedder.parameters(), 1e-4)

    def step():
        optimizer.zero_grad()
        with autocast():
            found = embedder(pixels)
        loss = (decode(found) - pixels).abs().mean()
        loss.backward()
        optimizer.step()
        return loss.item()

    return step


class Block(nn.Module):
    def __init__(self, before, after):
        super().__init__()
        self.projection = nn.Identity() if before == after else nn.Conv2d(before, after, 1)
        self.norm = nn.BatchNorm2d(before, eps=1e-3, momentum=0.01, affine=False)
        self.conv1 = nn.Conv2d(before, after, 3, padding=1)
        self.conv2 = nn.Conv2d(after, after, 3, padding=1)

    def forward(self, x):
        return self.conv2(functional.silu(self.conv1(self.norm(x)))) + self.projection(x)


class UNet(nn.Module):
    def __init__(self, size, conditioned):
        super().__init__()
        widths, depth = size.widths, size.block_depth
        self.conditioned = conditioned
        self.input_conv = nn.Conv2d(size.channels, widths[0], 1)
        channels = widths[0] + (64 if conditioned else 0)

        def blocks(width, skip=0):
            nonlocal channels
            made = nn.ModuleList()
            for _ in range(depth):
                made.append(Block(channels + skip, width))
                channels = width
            return made

        self.down = nn.ModuleList([blocks(width) for width in widths[:-1]])
        self.middle = blocks(widths[-1])
        self.up = nn.ModuleList([blocks(width, width) for width in reversed(widths[:-1])])
        self.output_conv = nn.Conv2d(channels, size.channels, 1)
        frequencies = torch.exp(torch.linspace(0.0, math.log(1000), 32))
        self.register_buffer("angular", 2 * math.pi * frequencies.reshape(1, 32, 1, 1))

    def forward(self, images, variances=None):
        x = self.input_conv(images)
        if self.conditioned:
            angles = self.angular * variances
            embedding = torch.cat([angles.sin(), angles.cos()], 1).to(x.dtype)
            x = torch.cat([x, embedding.expand(-1, -1, *x.shape[2:])], 1)
        skips = []
        for blocks in self.down:
            for block in blocks:
                x = block(x)
                skips.append(x)
            x = functional.avg_pool2d(x, 2)
        for block in self.middle:
            x = block(x)
        for blocks in self.up:
            x = functional.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)
            for block in blocks:
                x = block(torch.cat([x, skips.pop()], 1))
        return self.output_conv(x).float()
