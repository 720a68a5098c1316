import numpy as np
import pytest
from AttribSegLib.channel_reduction import channel_names, reduce_channels
from AttribSegLib.errors import InputError
from AttribSegLib.inference import Prediction


def maps(count=3):
    return np.random.default_rng(0).normal(size=(count, 4, 5, 2)).astype(np.float32)


def test_reductions_by_their_names():
    values = maps()
    np.testing.assert_array_equal(reduce_channels(values, "sum"), values.sum(0))
    np.testing.assert_array_equal(reduce_channels(values, "mean"), values.mean(0))
    np.testing.assert_array_equal(reduce_channels(values, "maximum"), values.max(0))
    for index, name in enumerate(channel_names(3)):
        np.testing.assert_array_equal(reduce_channels(values, name), values[index])


@pytest.mark.parametrize("how", ["channel 0", "channel 4", "median", ""])
def test_what_is_not_there_is_refused(how):
    with pytest.raises(InputError, match="channel 3"):
        reduce_channels(maps(), how)


def test_a_prediction_is_reduced_anew():
    values = maps()
    prediction = Prediction.of(1.5, values)
    np.testing.assert_array_equal(prediction.attribution, values.sum(0))
    other = prediction.reduced("channel 2")
    np.testing.assert_array_equal(other.attribution, values[1])
    assert (other.logit, other.reduction) == (1.5, "channel 2")
    np.testing.assert_array_equal(other.reduced("sum").attribution, prediction.attribution)


def test_only_sums_over_input_channels_go_with_all_of_them():
    values, images = maps(2), np.random.default_rng(1).normal(size=(2, 4, 5, 2))
    images = images.astype(np.float32)
    summed = Prediction.of(0.0, values).times_input(images)
    np.testing.assert_allclose(summed, (values * images).sum(0), rtol=1e-5)
    # Two features of a network with two input channels are not the maps of these.
    single = Prediction.of(0.0, values, "channel 2").times_input(images)
    np.testing.assert_allclose(single, values[1] * images[0], rtol=1e-6)


def test_maps_by_channel_need_a_name_each():
    prediction = Prediction.of(0.0, maps(2))
    assert set(prediction.by_channel(["FLAIR", "T1"])) == {"FLAIR", "T1"}
    assert prediction.by_channel(["FLAIR"]) == {}
    assert Prediction.of(0.0, maps(1)).by_channel(["FLAIR"]) == {}
