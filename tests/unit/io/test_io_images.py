"""Pictures of every mode, and every way a file can be no picture."""

import numpy as np
import pytest
from PIL import Image

from dcase_asd.errors import ImageError
from dcase_asd.io import images
from dcase_asd.io.images import read_image, read_image_header, resize_image, to_grey, write_image


@pytest.fixture
def folder(tmp_path):
    path = tmp_path / "Bilder größe"
    path.mkdir()
    return path


def _rgb(height=6, width=4):
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)


def _agree(path, expected):
    header = read_image_header(path)
    assert (header.height, header.width, header.n_channels) == expected.shape
    found = read_image(path)
    assert found.dtype == np.uint8
    assert found.flags.c_contiguous
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("channels", [1, 3])
def test_what_was_written_is_read(folder, channels):
    pixels = _rgb()[:, :, :channels]
    write_image(folder / "a é.png", pixels)
    _agree(folder / "a é.png", pixels)


def test_orientation_is_applied_to_pixels_and_header(folder):
    pixels = _rgb()
    exif = Image.Exif()
    exif[0x0112] = 6  # taken with the camera turned: to be shown rotated by 90 degrees clockwise
    Image.fromarray(pixels).save(folder / "turned.png", exif=exif)
    _agree(folder / "turned.png", np.rot90(pixels, k=-1))


@pytest.mark.parametrize("ending", ["png", "tif", "webp"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_orientation_in_every_format(folder, ending, orientation):
    pixels = _rgb()
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = folder / f"turned.{ending}"
    Image.fromarray(pixels).save(path, exif=exif, **({"lossless": True} if ending == "webp" else {}))
    upright = pixels.transpose(1, 0, 2) if orientation > 4 else pixels
    down, right = (-1 if orientation in where else 1 for where in ((3, 4, 7, 8), (2, 3, 6, 7)))
    _agree(path, upright[::down, ::right])


def test_palette_becomes_rgb_and_transparency_white(folder):
    image = Image.new("P", (2, 1))
    image.putpalette([255, 0, 0, 0, 0, 255])
    image.putdata([0, 1])
    image.save(folder / "p.png")
    _agree(folder / "p.png", np.array([[[255, 0, 0], [0, 0, 255]]], dtype=np.uint8))
    image.save(folder / "t.png", transparency=1)
    _agree(folder / "t.png", np.array([[[255, 0, 0], [255, 255, 255]]], dtype=np.uint8))
    Image.fromarray(np.array([[[10, 20, 30, 255], [10, 20, 30, 0]]], dtype=np.uint8), "RGBA").save(folder / "a.png")
    _agree(folder / "a.png", np.array([[[10, 20, 30], [255, 255, 255]]], dtype=np.uint8))
    Image.fromarray(np.array([[[10, 255], [10, 0]]], dtype=np.uint8), "LA").save(folder / "la.png")
    _agree(folder / "la.png", np.array([[[10], [255]]], dtype=np.uint8))


def test_sixteen_bits_are_scaled_by_the_whole_range(folder):
    wide = np.array([[0, 128, 257, 32768, 65535]], dtype=np.uint16)
    Image.fromarray(wide).save(folder / "w.png")
    # 257 of 65535 is 1 of 255; rounded to the nearest
    _agree(folder / "w.png", np.array([[[0], [0], [1], [128], [255]]], dtype=np.uint8))


def test_one_bit_is_grey(folder):
    Image.fromarray(np.array([[0, 255]], dtype=np.uint8)).convert("1").save(folder / "b.png")
    _agree(folder / "b.png", np.array([[[0], [255]]], dtype=np.uint8))


def test_cmyk_becomes_rgb(folder):
    Image.new("CMYK", (8, 8), (0, 255, 255, 0)).save(folder / "c.tif")
    assert read_image(folder / "c.tif")[0, 0].tolist() == [255, 0, 0]


def test_no_picture_is_an_error_that_names_the_file(folder, monkeypatch):
    good = folder / "good.png"
    write_image(good, _rgb(64, 64))
    cases = {
        "empty.png": (b"", "empty"),
        "text.png": (b"no picture at all", "not a readable picture"),
        "cut.png": (good.read_bytes()[:6000], "not a readable picture"),
    }
    for name, (data, message) in cases.items():
        (folder / name).write_bytes(data)
        with pytest.raises(ImageError, match=message) as info:
            read_image(folder / name)
        assert name in str(info.value)
    with pytest.raises(ImageError, match=r"missing\.png"):
        read_image(folder / "missing.png")
    frames = [Image.fromarray(_rgb()), Image.fromarray(_rgb()[::-1])]
    frames[0].save(folder / "many.tif", save_all=True, append_images=frames[1:])
    with pytest.raises(ImageError, match="holds 2 pictures"):
        read_image(folder / "many.tif")
    Image.fromarray(np.ones((2, 2), dtype=np.float32)).save(folder / "f.tif")
    with pytest.raises(ImageError, match="32-bit"):
        read_image(folder / "f.tif")
    monkeypatch.setattr(images, "MAX_PIXELS", 64 * 64 - 1)
    with pytest.raises(ImageError, match="at most 4095"):
        read_image_header(good)


def test_a_decompression_bomb_is_refused_before_it_unpacks(folder):
    write_image(folder / "big.png", np.zeros((10, 10, 1), dtype=np.uint8))
    data = bytearray((folder / "big.png").read_bytes())
    import struct
    import zlib

    data[16:24] = struct.pack(">II", 60000, 60000)  # width and height in the header chunk
    data[29:33] = struct.pack(">I", zlib.crc32(bytes(data[12:29])))
    (folder / "big.png").write_bytes(bytes(data))
    with pytest.raises(ImageError, match="pixels"):
        read_image(folder / "big.png")


def test_resizing_is_antialiased():
    checker = (np.indices((64, 64)).sum(axis=0) % 2 * 255).astype(np.uint8)[:, :, None]
    small = resize_image(checker, height=8, width=8)
    assert small.shape == (8, 8, 1)
    # without a filter the samples would be black or white
    assert np.abs(small.astype(int) - 127).max() <= 3


def test_grey_is_luma():
    pixels = np.array([[[255, 0, 0], [0, 255, 0], [255, 255, 255]]], dtype=np.uint8)
    assert to_grey(pixels)[0, :, 0].tolist() == [76, 150, 255]
    np.testing.assert_array_equal(to_grey(_rgb()), np.asarray(Image.fromarray(_rgb()).convert("L"))[:, :, None])
