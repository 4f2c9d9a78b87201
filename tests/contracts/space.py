"""What every search space must do; inherit `SpaceContract` and say how to make one."""

import json
import math
import random
from itertools import islice

import jsonschema
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from automcu.architecture import Architecture, Shape
from automcu.errors import InvalidArchitecture
from automcu.graph.network import Network, sources
from automcu.spaces.space import Space

on_every_task = pytest.mark.parametrize(
    ("input_shape", "class_count"),
    [((8, 8, 1), 10), ((28, 28, 1), 10), ((32, 32, 3), 100), ((49, 10, 1), 12), ((96, 96, 3), 2), ((1, 16, 2), 5)],
)

_scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(categories=None))
garbage = st.recursive(
    _scalars, lambda inner: st.lists(inner) | st.dictionaries(st.text() | st.integers(), inner), max_leaves=20
)


# The classes that inherit a property are its different executors.
inherited = settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.differing_executors])


def deeply_nested() -> list[object]:
    """A list in a list, 100,000 deep."""
    nested: list[object] = []
    for _ in range(100_000):
        nested = [nested]
    return nested


def peak_elements(network: Network) -> int:
    """Largest sum of a layer's inputs and output: a lower bound of peak RAM for one byte per element."""
    size = {name: math.prod(shape) for name, shape in network.shapes.items()}
    return max(size[layer.name] + sum(size[source] for source in set(sources(layer))) for layer in network.layers)


def parameters(network: Network) -> int:
    """Number of parameters, batch normalisation included."""
    return sum(map(math.prod, network.parameter_shapes.values()))


class SpaceContract:
    """Inherit, and override `make`; and `spread`, how many times the parameters of large networks are those of small
    ones, where the space is narrow."""

    spread = 30

    def make(self, input_shape: Shape, class_count: int) -> Space:
        raise NotImplementedError

    @on_every_task
    def test_random_architectures_build_and_survive_the_trip_through_json(self, input_shape, class_count):
        space = self.make(input_shape, class_count)
        for seed in range(60):
            architecture = space.random(random.Random(seed))
            assert architecture.space == space.name
            assert space.parse(json.loads(architecture.text)) == architecture
            network = space.build(architecture)
            assert network.input_shape == input_shape
            assert network.shapes[network.output] == (1, 1, class_count)
            assert min(min(shape) for shape in network.shapes.values()) >= 1

    @on_every_task
    def test_random_depends_on_the_seed_alone_and_varies(self, input_shape, class_count):
        first, second = self.make(input_shape, class_count), self.make(input_shape, class_count)
        drawn = [first.random(random.Random(seed)) for seed in range(30)]
        assert drawn == [second.random(random.Random(seed)) for seed in range(30)]
        assert len(set(drawn)) > 20

    @on_every_task
    def test_random_sizes_spread_over_orders_of_magnitude(self, input_shape, class_count):
        space, rng = self.make(input_shape, class_count), random.Random(0)
        sizes = sorted(parameters(space.build(space.random(rng))) for _ in range(200))
        assert sizes[190] > self.spread * sizes[10]

    @on_every_task
    def test_neighbours_are_new_distinct_and_in_the_space(self, input_shape, class_count):
        space = self.make(input_shape, class_count)
        for seed in range(6):
            architecture = space.random(random.Random(seed))
            found = list(space.neighbours(architecture, random.Random(seed)))
            assert len(found) > 5
            assert len(set(found)) == len(found)
            assert architecture not in found
            for neighbour in found:
                space.build(neighbour)
                assert space.parse(json.loads(neighbour.text)) == neighbour

    @on_every_task
    def test_neighbours_order_comes_from_the_rng(self, input_shape, class_count):
        space = self.make(input_shape, class_count)
        architecture = space.random(random.Random(1))
        first, same, other = (list(space.neighbours(architecture, random.Random(seed))) for seed in (1, 1, 2))
        assert first == same
        assert first != other
        assert set(first) == set(other)

    @on_every_task
    def test_a_walk_of_edits_stays_inside_and_keeps_moving(self, input_shape, class_count):
        space, rng = self.make(input_shape, class_count), random.Random(0)
        architecture = space.smallest()
        seen = {architecture}
        for _ in range(40):
            (architecture,) = islice(space.neighbours(architecture, rng), 1)
            space.build(architecture)
            seen.add(architecture)
        assert len(seen) > 20

    @on_every_task
    def test_smallest_needs_least(self, input_shape, class_count):
        space, rng = self.make(input_shape, class_count), random.Random(0)
        smallest = space.build(space.smallest())
        assert space.parse(json.loads(space.smallest().text)) == space.smallest()
        beside = [*islice(space.neighbours(space.smallest(), rng), 200), *(space.random(rng) for _ in range(200))]
        for network in map(space.build, beside):
            assert peak_elements(smallest) <= peak_elements(network)
            assert parameters(smallest) <= parameters(network)

    @on_every_task
    def test_families_are_grids_of_networks_that_grow(self, input_shape, class_count):
        space = self.make(input_shape, class_count)
        for name, grid in space.families().items():
            assert name.isprintable()
            assert len({len(row) for row in grid}) == 1
            for row in [*grid[::4], grid[-1], [row[0] for row in grid]]:
                sizes = [parameters(space.build(space.parse(json.loads(rung.text)))) for rung in row]
                assert sizes == sorted(sizes)
                assert sizes[0] < sizes[-1] or len(row) == 1

    @on_every_task
    def test_features_are_as_many_finite_figures_for_every_network_and_tell_them_apart(self, input_shape, class_count):
        space, rng = self.make(input_shape, class_count), random.Random(0)
        drawn = [space.smallest(), *(space.random(rng) for _ in range(50))]
        features = [tuple(space.features(architecture)) for architecture in drawn]
        assert len({len(one) for one in features}) == 1
        assert all(math.isfinite(figure) for one in features for figure in one)
        assert len(set(features)) > len(set(drawn)) / 2
        assert features == [tuple(space.features(architecture)) for architecture in drawn]
        with pytest.raises(InvalidArchitecture):
            space.features(Architecture("another", space.smallest().text))

    @on_every_task
    def test_json_schema_accepts_what_the_space_makes_and_is_strict(self, input_shape, class_count):
        space, rng = self.make(input_shape, class_count), random.Random(0)
        schema = json.loads(json.dumps(space.json_schema))
        jsonschema.Draft202012Validator.check_schema(schema)
        validator = jsonschema.Draft202012Validator(schema)
        for _ in range(20):
            validator.validate(json.loads(space.random(rng).text))
        assert not validator.is_valid({})
        _assert_strict(schema)

    def test_fingerprints_are_equal_exactly_when_texts_are(self):
        space, rng = self.make((28, 28, 1), 10), random.Random(0)
        architectures = [space.random(rng) for _ in range(100)]
        architectures += [space.parse(json.loads(architecture.text)) for architecture in architectures]
        texts = {architecture.text for architecture in architectures}
        assert len({architecture.fingerprint for architecture in architectures}) == len(texts)

    @on_every_task
    def test_description_names_the_task(self, input_shape, class_count):
        text = self.make(input_shape, class_count).describe()
        assert "x".join(map(str, input_shape)) in text
        assert str(class_count) in text
        assert len(text) < 4000

    @on_every_task
    def test_every_network_and_every_edit_has_words_of_its_own(self, input_shape, class_count):
        space, rng = self.make(input_shape, class_count), random.Random(0)
        drawn = {space.random(rng) for _ in range(200)}
        assert len({space.summary(architecture) for architecture in drawn}) == len(drawn)
        for seed in range(6):
            before = space.random(random.Random(seed))
            neighbours = list(space.neighbours(before, rng))
            edits = [space.describe_edit(before, after) for after in neighbours]
            assert len(set(edits)) == len(edits)
            told = [space.summary(architecture) for architecture in (before, *neighbours)] + edits
            assert all(text.strip() and text.isprintable() and len(text) < 1_000 for text in told)
            assert sum(map(len, edits)) / len(edits) < 120
            assert edits == [space.describe_edit(before, after) for after in neighbours]

    def test_words_of_what_is_none_of_its_own_are_refused(self):
        space = self.make((28, 28, 1), 10)
        sound, foreign = space.smallest(), Architecture("another", space.smallest().text)
        for say in (
            lambda: space.summary(foreign),
            lambda: space.describe_edit(foreign, sound),
            lambda: space.describe_edit(sound, foreign),
        ):
            with pytest.raises(InvalidArchitecture):
                say()

    @given(description=garbage)
    @inherited
    def test_parse_refuses_garbage_in_one_sentence(self, description):
        self._refused_or_sound(self.make((28, 28, 1), 10), description)

    @given(seed=st.integers(0, 50), data=st.data())
    @inherited
    def test_parse_refuses_or_repairs_a_damaged_architecture(self, seed, data):
        space = self.make((28, 28, 1), 10)
        description = json.loads(space.random(random.Random(seed)).text)
        for _ in range(data.draw(st.integers(1, 3))):
            _damage(description, data)
        self._refused_or_sound(space, description)

    def test_parse_refuses_what_is_huge(self):
        space = self.make((28, 28, 1), 10)
        sound = json.loads(space.random(random.Random(0)).text)
        for key in sound:
            for value in (deeply_nested(), [0] * 300_000, {"a": deeply_nested()}, "x" * 10**6, 10**5000, math.nan):
                self._refused_or_sound(space, {**sound, key: value})
        self._refused_or_sound(space, deeply_nested())
        with pytest.raises(InvalidArchitecture):
            space.parse({**sound, "extra": 1})

    @pytest.mark.parametrize("text", ["", "{", "[" * 100_000, "null", "{}", '"\\ud800"', "NaN", "1" * 5000])
    def test_build_refuses_foreign_text(self, text):
        space = self.make((28, 28, 1), 10)
        for architecture in (Architecture(space.name, text), Architecture("another", space.smallest().text)):
            with pytest.raises(InvalidArchitecture):
                space.build(architecture)

    def test_build_refuses_text_that_is_not_canonical(self):
        space = self.make((28, 28, 1), 10)
        with pytest.raises(InvalidArchitecture):
            space.build(Architecture(space.name, space.smallest().text + " "))

    @staticmethod
    def _refused_or_sound(space: Space, description: object) -> None:
        try:
            architecture = space.parse(description)
        except InvalidArchitecture as refusal:
            assert 0 < len(str(refusal)) < 500
            str(refusal).encode()  # must be fit for a journal and a prompt
        else:
            space.build(architecture)
            jsonschema.validate(json.loads(architecture.text), dict(space.json_schema))


def _damage(description: object, data: st.DataObject) -> None:
    """Overwrite, remove, add or repeat one thing somewhere inside."""
    place = description
    while True:
        keys = list(place) if isinstance(place, dict) else list(range(len(place)))
        if not keys:
            return
        key = data.draw(st.sampled_from(keys))
        if isinstance(place[key], dict | list) and place[key] and data.draw(st.integers(0, 3)):
            place = place[key]
            continue
        action = data.draw(st.sampled_from(["overwrite", "remove", "add", "repeat"]))
        if action == "overwrite":
            place[key] = data.draw(garbage | st.sampled_from([1, 2, 3, 4, 8, 256, "conv", "relu"]))
        elif action == "remove":
            del place[key]
        elif isinstance(place, dict):
            place[data.draw(st.text())] = place[key]
        else:
            place.extend([place[key]] * data.draw(st.integers(1, 12)))
        return


def _assert_strict(schema: object) -> None:
    """Every object of the schema closed, with all keys required; no references."""
    if isinstance(schema, dict):
        assert "$ref" not in schema
        if schema.get("type") == "object":
            assert schema["additionalProperties"] is False
            assert sorted(schema["required"]) == sorted(schema["properties"])
        for value in schema.values():
            _assert_strict(value)
    elif isinstance(schema, list):
        for value in schema:
            _assert_strict(value)
