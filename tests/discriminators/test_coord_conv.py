import torch
from torch.testing import assert_close

from gan3d_ns.discriminators.coord_conv import CoordConv2d, append_coordinates


def test_rows_come_before_columns_and_span_minus_one_to_one():
    appended = append_coordinates(torch.zeros(2, 3, 2, 3))
    assert appended.shape == (2, 5, 2, 3)
    assert_close(appended[1, 3], torch.tensor([[-1.0, -1, -1], [1, 1, 1]]))
    assert_close(appended[1, 4], torch.tensor([[-1.0, 0, 1], [-1, 0, 1]]))


def test_convolution_is_a_plain_one_plus_a_bias_map_of_the_coordinates():
    layer = CoordConv2d(3, 4, 3, padding=1)
    features = torch.randn(2, 3, 5, 5)
    coordinates = append_coordinates(features)[:, 3:]
    plain = torch.nn.functional.conv2d(features, layer.weight[:, :3], layer.bias, padding=1)
    bias_map = torch.nn.functional.conv2d(coordinates, layer.weight[:, 3:], padding=1)
    assert_close(layer(features), plain + bias_map)
