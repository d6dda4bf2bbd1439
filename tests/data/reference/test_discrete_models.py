"""Models over grey levels against a small world whose joint distribution is known: three tokens of three levels."""

import itertools

import pytest
import torch
from torch import Tensor

from paragone.data.digits import load_digits_split
from paragone.data.generators.reference.autoregressive import log_likelihood, next_pixel_loss, pixel_by_pixel
from paragone.data.generators.reference.block_diffusion import block_by_block, block_loss, log_likelihood_bound
from paragone.data.generators.reference.masked_diffusion import hide, masked_loss, reveal, turns
from paragone.data.generators.reference.network import to_images
from paragone.data.generators.reference.token_network import (
    MASK,
    Guesser,
    TokenNetwork,
    choose,
    to_tokens,
    tokens_to_pixels,
)

LENGTH, LEVELS = 3, 3
WORLDS = torch.tensor(list(itertools.product(range(LEVELS), repeat=LENGTH)))  # all 27 sequences
JOINT = torch.rand(len(WORLDS), generator=torch.Generator().manual_seed(0), dtype=torch.float64) ** 3
JOINT = JOINT / JOINT.sum()


def classes(n: int) -> Tensor:
    return torch.zeros(n, dtype=torch.long)


def oracle(tokens: Tensor, digit: Tensor) -> Tensor:
    """Log p(level of each token | the tokens that are not MASK), [N, L, levels]."""
    fits = ((tokens[:, None] == WORLDS) | (tokens[:, None] == MASK)).all(2).double() * JOINT  # [N, 27]
    by_level = torch.stack([fits @ (level == WORLDS).double() for level in range(LEVELS)], 2)
    return (by_level / fits.sum(1)[:, None, None]).log()


def stubborn(tokens: Tensor, digit: Tensor) -> Tensor:
    """Guesses that belong to no joint distribution: what is known changes them arbitrarily."""
    weights = torch.sin(torch.arange(1.0, 1 + LENGTH * LENGTH * LEVELS)).reshape(LENGTH, LENGTH, LEVELS).double()
    return torch.einsum("ni,ijk->njk", (tokens % 7).double(), weights)


def orders(n: int, length: int = LENGTH, seed: int = 0) -> Tensor:
    return torch.rand((n, length), generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_tokens_keep_every_picture() -> None:
    images = load_digits_split(seed=0)[0].images
    tokens = to_tokens(images)
    assert tokens.unique().tolist() == list(range(17))
    assert (to_images(tokens_to_pixels(tokens)) == images).all()


def test_a_level_is_chosen_by_its_share() -> None:
    shares = torch.tensor([0.2, 0.0, 0.5, 0.3], dtype=torch.float64)
    uniform = (torch.arange(1000, dtype=torch.float64) + 0.5) / 1000
    drawn = choose(shares.log().expand(1000, 4), uniform)
    assert torch.bincount(drawn, minlength=4).tolist() == [200, 0, 500, 300]
    assert drawn.diff().min() >= 0


# --- likelihoods


@pytest.mark.parametrize("guesser", [oracle, stubborn])
def test_the_chain_rule_gives_a_distribution(guesser: Guesser) -> None:
    log_p = log_likelihood(guesser, WORLDS, classes(27))
    assert float(log_p.exp().sum()) == pytest.approx(1.0)
    if guesser is oracle:
        torch.testing.assert_close(log_p, JOINT.log())


@pytest.mark.parametrize("guesser", [oracle, stubborn])
@pytest.mark.parametrize(("block", "steps"), [(3, 3), (3, 2), (3, 1), (1, 1)])
def test_any_order_of_revealing_gives_a_distribution(guesser: Guesser, block: int, steps: int) -> None:
    for order in orders(5):
        log_p = log_likelihood_bound(guesser, WORLDS, order.expand(27, -1), classes(27), block=block, steps=steps)
        assert float(log_p.exp().sum()) == pytest.approx(1.0)
        if guesser is oracle and steps == block:  # one token a step: exact for a guesser that is
            torch.testing.assert_close(log_p, JOINT.log())
        if guesser is oracle and steps == 1 and block > 1:
            assert (log_p - JOINT.log()).abs().max() > 0.1


def test_blocks_of_one_pixel_are_the_autoregressive_model_to_the_bit() -> None:
    """Likelihood and samples, of a network of the real size, whatever the order within the blocks."""
    torch.manual_seed(0)
    network = TokenNetwork().double()
    torch.nn.init.normal_(network.leave[1].weight)  # far from uniform guesses
    digit = torch.arange(6)
    uniform = orders(6, 64, seed=1)
    with torch.inference_mode():
        drawn = pixel_by_pixel(network, uniform, digit)
        log_p = log_likelihood(network, drawn, digit)
        for seed in (2, 3):
            order = orders(6, 64, seed=seed)
            assert torch.equal(block_by_block(network, uniform, order, digit, block=1, steps=1), drawn)
            assert torch.equal(log_likelihood_bound(network, drawn, order, digit, block=1, steps=1), log_p)
        by_rows = block_by_block(network, uniform, order, digit, block=8, steps=8)
        assert not torch.equal(by_rows, drawn)
        assert not torch.equal(log_likelihood_bound(network, drawn, order, digit, block=8, steps=8), log_p)


def test_one_block_is_masked_diffusion() -> None:
    uniform, order = orders(500, seed=4), orders(500, seed=5)
    hidden = torch.full((500, LENGTH), MASK)
    whole = reveal(stubborn, hidden, uniform, order, classes(500), slice(LENGTH), 2)
    assert torch.equal(block_by_block(stubborn, uniform, order, classes(500), block=LENGTH, steps=2), whole)


# --- sampling


def frequencies(tokens: Tensor) -> Tensor:
    return torch.bincount(tokens @ torch.tensor([9, 3, 1]), minlength=27).double() / len(tokens)


@pytest.mark.parametrize(("block", "steps"), [(3, 3), (1, 1)])
def test_one_token_a_step_draws_from_the_joint_distribution(block: int, steps: int) -> None:
    n = 40_000
    drawn = block_by_block(oracle, orders(n, seed=6), orders(n, seed=7), classes(n), block=block, steps=steps)
    chi_squared = float((n * (frequencies(drawn) - JOINT) ** 2 / JOINT).sum())
    assert chi_squared < 54  # 0.1 % of 26 degrees of freedom


def test_all_tokens_in_one_step_draw_from_the_product_of_marginals() -> None:
    n = 40_000
    drawn = block_by_block(oracle, orders(n, seed=6), orders(n, seed=7), classes(n), block=3, steps=1)
    marginals = [torch.stack([JOINT[WORLDS[:, i] == level].sum() for level in range(LEVELS)]) for i in range(LENGTH)]
    product = torch.stack([marginals[i][WORLDS[:, i]] for i in range(LENGTH)]).prod(0)
    assert float((n * (frequencies(drawn) - product) ** 2 / product).sum()) < 54
    assert float((n * (frequencies(drawn) - JOINT) ** 2 / JOINT).sum()) > 1000


def test_each_step_reveals_as_many_and_nothing_twice() -> None:
    shown = torch.stack(list(turns(orders(20, 64), 16)))
    assert (shown.sum(2) == 4).all()
    assert (shown.sum(0) == 1).all()


# --- losses


def test_hidden_tokens_are_as_many_as_the_time_says() -> None:
    tokens = torch.ones(2000, 64, dtype=torch.long)
    hidden = hide(tokens, torch.full((2000, 1), 0.3), torch.Generator().manual_seed(0))
    assert float((hidden == MASK).double().mean()) == pytest.approx(0.3, abs=0.005)


def test_all_losses_of_the_exact_guesser_are_the_entropy() -> None:
    """Per token; the mean of each over many draws from the joint distribution."""
    rng = torch.Generator().manual_seed(0)
    n = 60_000
    tokens = WORLDS[torch.multinomial(JOINT, n, replacement=True, generator=rng)]
    entropy = -float((JOINT * JOINT.log()).sum()) / LENGTH
    losses = [
        next_pixel_loss(oracle, tokens, classes(n), rng),
        masked_loss(oracle, tokens, classes(n), rng),
        block_loss(oracle, tokens, classes(n), rng, block=1),
        block_loss(oracle, tokens, classes(n), rng, block=3),
    ]
    assert [float(loss) for loss in losses] == pytest.approx([entropy] * 4, rel=0.03)


def test_block_size_one_trains_the_autoregressive_likelihood() -> None:
    """For guesses that fit no joint distribution, too."""
    rng = torch.Generator().manual_seed(0)
    n = 100_000
    tokens = WORLDS[torch.multinomial(JOINT, n, replacement=True, generator=rng)]
    exact = -float(log_likelihood(stubborn, tokens, classes(n)).mean()) / LENGTH
    assert float(next_pixel_loss(stubborn, tokens, classes(n), rng)) == pytest.approx(exact, rel=0.02)
    assert float(block_loss(stubborn, tokens, classes(n), rng, block=1)) == pytest.approx(exact, rel=0.02)


def test_what_comes_later_is_hidden_from_the_network() -> None:
    seen = []

    def spy(tokens: Tensor, digit: Tensor) -> Tensor:
        seen.append(tokens)
        return torch.zeros(*tokens.shape, 17)

    rng = torch.Generator().manual_seed(0)
    tokens = torch.ones(300, 64, dtype=torch.long)
    block_loss(spy, tokens, classes(300), rng, block=8)
    next_pixel_loss(spy, tokens, classes(300), rng)
    blocks = (seen[0] == MASK).reshape(300, 8, 8)
    for rows in blocks:  # clean blocks, one that may be anything, hidden blocks
        anything = int(rows.all(1).logical_not().sum())
        assert not rows[: max(anything - 1, 0)].any()
        assert rows[anything:].all()
    assert ((seen[1] == MASK).int().diff(dim=1) >= 0).all()
