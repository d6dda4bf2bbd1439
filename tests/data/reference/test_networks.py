"""Backbones and the autoencoder: what makes a U-Net, a DiT and a VAE what they are."""

import pytest
import torch
from torch import Tensor, nn

from paragone.data.digits import load_digits_split
from paragone.data.generators.reference.dit import N_PATCHES, DiT, from_patches, to_patches
from paragone.data.generators.reference.latent_diffusion import (
    FLOW_PREFIX,
    SCALE,
    VAE_PREFIX,
    LatentDiffusion,
    encode_all,
    latent_network,
)
from paragone.data.generators.reference.network import DigitNetwork, to_pixels
from paragone.data.generators.reference.unet import UNet
from paragone.data.generators.reference.vae import KL_WEIGHT, N_LATENTS, VAE, kl_to_normal, train_vae, vae_loss

TRAINING, REFERENCE = load_digits_split(seed=0)
TIME, DIGIT = torch.tensor([0.2, 0.7]), torch.tensor([3, 10])


@pytest.fixture(autouse=True)
def one_thread_and_one_seed() -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)


@pytest.mark.parametrize("backbone", [DigitNetwork, UNet, DiT])
def test_every_backbone_takes_the_same_arguments_and_uses_them(backbone: type[nn.Module]) -> None:
    network = backbone()
    for parameter in network.parameters():  # DiT starts at zero
        if not parameter.any():
            nn.init.normal_(parameter, std=0.1)
    x = torch.randn(2, 64)
    out = network(x, TIME, DIGIT)
    assert out.shape == (2, 64)
    assert not torch.allclose(out, network(x, TIME + 0.1, DIGIT))
    assert not torch.allclose(out, network(x, TIME, DIGIT - 1))
    torch.testing.assert_close(network(x[:1], TIME[:1], DIGIT[:1]), out[:1], atol=1e-5, rtol=1e-4)
    changed = x.clone()
    changed[:, 0] += 1.0  # a corner reaches the opposite one
    assert ((network(changed, TIME, DIGIT) - out).abs() > 1e-6).all()


def test_details_reach_the_unets_end_by_the_skip() -> None:
    """With its bottleneck silenced, a U-Net still tells apart pictures; without the skip as well, it is blind."""
    network = UNet()

    def silent(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
        return torch.zeros_like(output)

    x, y = torch.randn(2, 1, 64)
    network.up.register_forward_hook(silent)
    assert not torch.allclose(network(x, TIME[:1], DIGIT[:1]), network(y, TIME[:1], DIGIT[:1]), atol=1e-3)
    network.fine_down.register_forward_hook(silent)
    torch.testing.assert_close(network(x, TIME[:1], DIGIT[:1]), network(y, TIME[:1], DIGIT[:1]))


def test_the_unets_bottleneck_is_coarse() -> None:
    network = UNet()
    shapes = []
    for block in network.coarse:
        block.register_forward_hook(lambda module, inputs, output: shapes.append(output.shape[-2:]))
    network(torch.randn(2, 64), TIME, DIGIT)
    assert shapes == [(4, 4), (4, 4)]


def test_adaln_zero_starts_as_the_identity() -> None:
    network = DiT()
    assert not network(torch.randn(2, 64), TIME, DIGIT).any()
    tokens, condition = torch.randn(2, N_PATCHES, 64), torch.randn(2, 64)
    for block in network.blocks:
        assert torch.equal(block(tokens, condition), tokens)


def test_adaln_conditions_through_shift_scale_and_gate() -> None:
    """A block is h + gate · attention((1 + scale) · norm(h) + shift), and the same for the MLP."""
    block = DiT().blocks[0]
    nn.init.normal_(block.modulation.weight, std=0.2)
    tokens, condition = torch.randn(2, N_PATCHES, 64), torch.randn(2, 64)
    parts = block.modulation(nn.functional.silu(condition))[:, None].chunk(6, dim=-1)
    shift, scale, gate, mlp_shift, mlp_scale, mlp_gate = parts
    norm = nn.LayerNorm(64, elementwise_affine=False)
    halfway = tokens + gate * block.attend((1 + scale) * norm(tokens) + shift)
    expected = halfway + mlp_gate * block.mlp((1 + mlp_scale) * norm(halfway) + mlp_shift)
    torch.testing.assert_close(block(tokens, condition), expected)
    nn.init.zeros_(block.modulation.weight)
    with torch.no_grad():
        block.modulation.bias[2 * 64 : 3 * 64] = 1.0  # attention alone
    order = torch.randperm(N_PATCHES)
    torch.testing.assert_close(block(tokens, condition)[:, order], block(tokens[:, order], condition))


def test_patches_are_squares_of_the_picture() -> None:
    x = torch.arange(64.0)[None]
    assert to_patches(x)[0, 0].tolist() == [0, 1, 8, 9]
    assert to_patches(x)[0, -1].tolist() == [54, 55, 62, 63]
    assert torch.equal(from_patches(to_patches(x)), x)


# --- the autoencoder


def test_the_kl_divergence_is_that_of_gaussians() -> None:
    mean, log_variance = torch.randn(7, 5), torch.randn(7, 5)
    there = torch.distributions.Normal(mean, (0.5 * log_variance).exp())
    expected = torch.distributions.kl_divergence(there, torch.distributions.Normal(0.0, 1.0)).sum(1)
    torch.testing.assert_close(kl_to_normal(mean, log_variance), expected)


def test_the_vaes_loss_is_error_plus_weighted_kl_of_a_draw() -> None:
    network, pixels = VAE(), torch.rand(5, 64)
    noise = torch.randn((5, N_LATENTS), generator=torch.Generator().manual_seed(3))
    mean, log_variance = network.encode(pixels)
    decoded = network.decode(mean + (log_variance / 2).exp() * noise)
    expected = (decoded - pixels).square().mean() + KL_WEIGHT * kl_to_normal(mean, log_variance).mean()
    torch.testing.assert_close(vae_loss(network, pixels, DIGIT, torch.Generator().manual_seed(3)), expected)


def test_a_trained_vae_keeps_digits_that_it_has_not_seen_and_its_latents_have_unit_scale() -> None:
    weights = train_vae(TRAINING, steps=150, seed=0)
    network = VAE()
    network.load_state_dict(weights)
    pixels = to_pixels(REFERENCE.images)
    with torch.no_grad():
        mean, log_variance = network.encode(pixels)
        lost = float((network.decode(mean) - pixels).square().mean())
        from_noise = float((network.decode(torch.randn_like(mean)) - pixels).square().mean())
    assert lost < 0.5 * float(pixels.var(0).mean())  # 16 numbers explain most of the 64
    assert lost < 0.4 * from_noise  # and it is they that do
    assert float(log_variance.exp().mean()) < 0.5  # far from the prior: the KL is kept small, not zero
    latents, scale = encode_all(weights, TRAINING)
    torch.testing.assert_close(latents.square().mean(0), torch.ones(N_LATENTS))
    with torch.no_grad():
        torch.testing.assert_close(latents * scale, network.encode(to_pixels(TRAINING.images))[0])


def test_a_latent_model_is_flow_then_scale_then_decoder() -> None:
    vae, flow, scale = VAE(), latent_network(), torch.rand(N_LATENTS) + 0.5
    nn.init.zeros_(flow.leave[1].weight)
    nn.init.constant_(flow.leave[1].bias, 0.7)  # a velocity of 0.7 everywhere
    weights = {VAE_PREFIX + name: value for name, value in vae.state_dict().items()}
    weights |= {FLOW_PREFIX + name: value for name, value in flow.state_dict().items()} | {SCALE: scale}
    model = LatentDiffusion("latent", weights, steps=4)
    noise = torch.randn(3, 1, N_LATENTS, dtype=torch.float64)
    with torch.inference_mode():
        drawn = model._draw(noise, torch.zeros(3, dtype=torch.long))
        expected = vae.double().decode(scale.double() * (noise[:, 0] + 0.7))
    torch.testing.assert_close(drawn, expected, atol=1e-6, rtol=0)
