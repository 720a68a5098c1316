import pytest
from AttribSegLib.training.curves import draw_curves

VALIDATION = {"validation_auroc": 0.8, "validation_tpr": 0.7, "validation_tnr": 0.9}
LOSS = {"train_classification": 0.5, "validation_loss": 0.6}


@pytest.mark.parametrize(("record", "panels"), [(VALIDATION, 1), ({**LOSS, **VALIDATION}, 2)])
def test_there_is_a_panel_for_everything_that_was_recorded(tmp_path, record, panels):
    from matplotlib.image import imread

    history = [{"epoch": epoch, **record} for epoch in (1, 2)]
    draw_curves(history, tmp_path / "curves.png", best_epoch=2)
    height, width = imread(tmp_path / "curves.png").shape[:2]
    assert width / height == pytest.approx(panels * 4.4 / 3.4, rel=0.02)
