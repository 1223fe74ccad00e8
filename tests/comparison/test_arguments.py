import numpy as np
import pytest

from kt_transfer.comparison.arguments import seed_from


@pytest.mark.parametrize("kind", [np.random.default_rng, np.random.RandomState])
def test_a_generator_moves_on_with_every_seed(kind):
    generator, again = kind(5), kind(5)
    seeds = [seed_from(generator) for _ in range(3)]
    assert seeds == [seed_from(again) for _ in range(3)]
    assert len(set(seeds)) == 3


@pytest.mark.parametrize("seed", [0, 7, 2**32 - 1, np.int64(7), np.uint8(7)])
def test_an_integer_gives_the_same_seed(seed):
    assert seed_from(seed) == seed_from(int(seed))
    assert 0 <= seed_from(seed) < 2**31


def test_no_random_state_gives_other_seeds():
    assert seed_from(None) != seed_from(None)


@pytest.mark.parametrize("wrong", ["a", 1.5, -1, [[]]])
def test_anything_else_is_refused(wrong):
    with pytest.raises(ValueError, match="seed|Seed"):
        seed_from(wrong)
