"""PyTorch's way: eager modules or compiled ones, channels_last, bfloat16 by autocast."""

import contextlib
import itertools
import math

import torch
from torch import nn
from torch.nn import functional

from benchmarks.work import NUM_STEPS, SEMANTIC_DIMS

START, END = math.acos(0.95), math.acos(0.02)


def make(piece, size, batch, precision, device="cpu", compiled=False):
    """See `benchmarks.work`; `compiled` is whether `torch.compile` compiles the networks."""
    torch.manual_seed(0)
    torch.set_default_device(device)
    if precision == "float32":  # and no shorter type within it
        torch.set_float32_matmul_precision("highest")
        torch.backends.cudnn.allow_tf32 = False
    shape = (batch, size.channels, size.image_size, size.image_size)
    pixels = torch.rand(shape).to(memory_format=torch.channels_last)
    latents = torch.randn(shape).to(memory_format=torch.channels_last)

    def network(kind, *arguments):
        made = kind(size, *arguments).to(memory_format=torch.channels_last)
        return torch.compile(made) if compiled else made

    def autocast():
        if precision == "bfloat16":
            return torch.autocast(device, dtype=torch.bfloat16)
        return contextlib.nullcontext()

    if piece in ("denoiser_step", "autoencoder_step"):
        told = piece == "autoencoder_step"
        denoiser = network(UNet, True, SEMANTIC_DIMS if told else 0)
        encoder = network(Encoder) if told else None
        parameters = [*denoiser.parameters(), *(encoder.parameters() if told else ())]
        optimizer = torch.optim.Adam(parameters, 1e-4)

        def step():
            angles = START + torch.rand(batch, 1, 1, 1) * (END - START)
            noises = torch.randn(shape).to(memory_format=torch.channels_last)
            signal, noise = torch.cos(angles), torch.sin(angles)
            optimizer.zero_grad()
            with autocast():
                semantic = (encoder(pixels),) if told else ()
                predicted = denoiser(signal * pixels + noise * noises, noise**2, *semantic)
            loss = (noises - predicted).abs().mean()
            loss.backward()
            optimizer.step()
            return loss.item()

        return step

    denoiser = network(UNet, True).eval().requires_grad_(False)

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
            with torch.no_grad():
                return decode(latents).cpu()

        return run
    if piece == "gradient":

        def gradient():
            wanted = latents.clone().requires_grad_(True)
            loss = ((decode(wanted) - pixels) ** 2).mean()
            return torch.autograd.grad(loss, wanted)[0].cpu()

        return gradient

    embedder = network(UNet, False)
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

    def forward(self, x, modulation=None):
        y = functional.silu(self.conv1(self.norm(x)))
        if modulation is not None:
            scale, shift = modulation[..., None, None].chunk(2, 1)
            y = y * (1 + scale) + shift
        return self.conv2(y) + self.projection(x)


def group_norm(channels):
    return nn.GroupNorm(max(n for n in range(1, 33) if channels % n == 0), channels)


class EncoderBlock(nn.Module):
    def __init__(self, before, after, down=False):
        super().__init__()
        self.down = down
        self.norm = group_norm(before)
        self.conv = nn.Conv2d(before, after, 3, padding=1)
        self.projection = nn.Identity() if before == after else nn.Conv2d(before, after, 1)

    def forward(self, x):
        y = functional.silu(self.norm(x))
        if self.down:
            x, y = functional.avg_pool2d(x, 2), functional.avg_pool2d(y, 2)
        return self.conv(y) + self.projection(x)


class Attention(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.norm = group_norm(width)
        self.qkv, self.projection = nn.Linear(width, 3 * width), nn.Linear(width, width)

    def forward(self, x):
        each = self.norm(x).flatten(2).transpose(1, 2)
        queries, keys, values = self.qkv(each).unsqueeze(1).chunk(3, -1)
        attended = functional.scaled_dot_product_attention(queries, keys, values)
        return x + self.projection(attended.squeeze(1)).transpose(1, 2).reshape(x.shape)


class Encoder(nn.Module):
    """The semantic encoder, of `size.encoder_widths` and one block a level."""

    def __init__(self, size):
        super().__init__()
        widths, last = size.encoder_widths, size.encoder_widths[-1]
        layers, resolution = [nn.Conv2d(size.channels, widths[0], 3, padding=1)], size.image_size
        for level, width in enumerate(widths):
            if level:
                layers.append(EncoderBlock(widths[level - 1], widths[level - 1], down=True))
                resolution //= 2
            layers.append(EncoderBlock(widths[max(level - 1, 0)], width))
            if resolution == 16:
                layers.append(Attention(width))
        layers += [EncoderBlock(last, last), Attention(last), EncoderBlock(last, last)]
        layers += [group_norm(last), nn.SiLU()]
        self.layers, self.head = nn.Sequential(*layers), nn.Linear(last, SEMANTIC_DIMS)

    def forward(self, images):
        return self.head(self.layers(images).float().mean((2, 3)))


class UNet(nn.Module):
    def __init__(self, size, conditioned, semantic_dims=0):
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
        each = [*self.down, self.middle, *self.up] if semantic_dims else []
        self.modulations = nn.ModuleList(
            nn.Linear(semantic_dims, 2 * block.conv1.out_channels)
            for made in each
            for block in made
        )
        frequencies = torch.exp(torch.linspace(0.0, math.log(1000), 32))
        self.register_buffer("angular", 2 * math.pi * frequencies.reshape(1, 32, 1, 1))

    def forward(self, images, variances=None, semantic=None):
        x = self.input_conv(images)
        told = itertools.repeat(None)
        if semantic is not None:
            told = iter([linear(functional.silu(semantic)) for linear in self.modulations])
        if self.conditioned:
            angles = self.angular * variances
            embedding = torch.cat([angles.sin(), angles.cos()], 1).to(x.dtype)
            x = torch.cat([x, embedding.expand(-1, -1, *x.shape[2:])], 1)
        skips = []
        for blocks in self.down:
            for block in blocks:
                x = block(x, next(told))
                skips.append(x)
            x = functional.avg_pool2d(x, 2)
        for block in self.middle:
            x = block(x, next(told))
        for blocks in self.up:
            x = functional.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)
            for block in blocks:
                x = block(torch.cat([x, skips.pop()], 1), next(told))
        return self.output_conv(x).float()
