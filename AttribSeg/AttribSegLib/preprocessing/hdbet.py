"""Brain extraction by HD-BET, an optional backend (extra ``hdbet``).

HD-BET is a network whose weights are downloaded once; that happens with consent only. They are a
PyTorch checkpoint, which HD-BET itself loads: its authors have to be trusted.
"""

from __future__ import annotations

import tempfile
from importlib.util import find_spec
from pathlib import Path

from ..errors import InputError
from ..image import Image
from ..image_io import read_image, write_image


def extract_brain_hdbet(
    image: Image, *, allow_download: bool = False, device: str = "cpu"
) -> Image:
    """Brain mask of a head by HD-BET.

    Parameters
    ----------
    image : Image
        T1, T2 or FLAIR with the skull, in any orientation.
    allow_download : bool
        The weights may be fetched from the network if they are not on this computer.
    device : str
        "cpu" or "cuda".

    Returns
    -------
    Image
        Mask, bool, on the image's grid.

    Raises
    ------
    InputError
        If HD-BET is not installed, or its weights are neither here nor allowed to be fetched.

    References
    ----------
    .. [1] F. Isensee et al., Automated brain extraction of multisequence MRI using artificial
       neural networks, Human Brain Mapping 40(17), 2019.
    """
    if find_spec("HD_BET") is None:
        raise InputError(
            "HD-BET is not installed; pip install 'attribseg[hdbet]', or use the embedded brain "
            "extraction (--brain-method atlas)"
        )
    from HD_BET.checkpoint_download import maybe_download_parameters
    from HD_BET.hd_bet_prediction import get_hdbet_predictor, hdbet_predict
    from HD_BET.paths import folder_with_parameter_files

    weights = Path(folder_with_parameter_files) / "fold_all" / "checkpoint_final.pth"
    if not weights.is_file() and not allow_download:
        raise InputError(
            f"HD-BET's weights are not on this computer ({folder_with_parameter_files}); allow "
            "their download (--allow-download), or use --brain-method atlas"
        )
    maybe_download_parameters()
    predictor = get_hdbet_predictor(use_tta=device != "cpu", device=_device(device))
    # HD-BET works on files.
    with tempfile.TemporaryDirectory(prefix="attribseg-") as folder:
        source, target = Path(folder) / "scan.nii.gz", Path(folder) / "brain.nii.gz"
        write_image(image, source)
        hdbet_predict(
            str(source),
            str(target),
            predictor,
            keep_brain_mask=True,
            compute_brain_extracted_image=False,
        )
        mask = read_image(target.with_name("brain_bet.nii.gz"))
    return image.with_array(mask.resample(image.geometry, interpolation="nearest").array != 0)


def _device(name: str) -> object:
    import torch

    return torch.device(name)
