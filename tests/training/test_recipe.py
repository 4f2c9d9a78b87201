from dataclasses import replace
from typing import get_args

from hypothesis import given
from hypothesis import strategies as st

from automcu.messages import CONFIGURED, RecipeChoice
from automcu.training.recipe import Recipe, applied
from automcu.training.trainer import TorchTrainer

RECIPES = st.builds(
    Recipe,
    epochs=st.integers(1, 300),
    learning_rate=st.floats(1e-9, 1e3),
    weight_decay=st.floats(0, 10),
    label_smoothing=st.floats(0, 1, exclude_max=True),
)
CHOICES = st.builds(
    RecipeChoice,
    *(
        st.sampled_from(get_args(RecipeChoice.__annotations__[name]))
        for name in ("learning_rate_percent", "weight_decay_percent", "label_smoothing_percent")
    ),
)


@given(RECIPES, CHOICES)
def test_every_choice_gives_a_valid_recipe_that_differs_in_three_figures(recipe: Recipe, choice: RecipeChoice) -> None:
    chosen = applied(recipe, choice)  # a Recipe refuses to be made of values out of range
    assert replace(
        chosen,
        learning_rate=recipe.learning_rate,
        weight_decay=recipe.weight_decay,
        label_smoothing=recipe.label_smoothing,
    ) == recipe  # fmt: skip
    assert 0 <= chosen.label_smoothing < 1


@given(RECIPES)
def test_the_neutral_choice_is_the_configured_recipe(recipe: Recipe) -> None:
    assert applied(recipe, CONFIGURED) == recipe


def test_per_cent_are_of_the_configured_figures() -> None:
    recipe = Recipe(learning_rate=0.2, weight_decay=0.0005, label_smoothing=0.1)
    chosen = applied(recipe, RecipeChoice(25, 0, 200))
    assert (chosen.learning_rate, chosen.weight_decay, chosen.label_smoothing) == (0.05, 0.0, 0.2)
    assert TorchTrainer(recipe, 1).with_recipe(RecipeChoice(25, 0, 200)) == TorchTrainer(chosen, 1)
