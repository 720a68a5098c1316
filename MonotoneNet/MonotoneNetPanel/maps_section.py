"""The section Counterfactual maps: what has to go for an image to be healthy, by channel."""

from __future__ import annotations

from typing import Any

import slicer
from AttribSegPanel.bindings import NodeBinding
from AttribSegPanel.bundle_card_view import BundleCardView
from AttribSegPanel.detection_view import DetectionView
from AttribSegPanel.panel import Panel
from AttribSegPanel.parameters import SCANS
from AttribSegPanel.run_section import RunSection
from AttribSegScene.detection_nodes import DetectionNodes
from AttribSegScene.display import show_overlay
from MonotoneNetScene.channels import MODEL_MAP, channels_of, map_node

from .channel_chooser import ChannelChooser


class MapsSection:
    """Makes counterfactual maps, and the channel chooser that says which one is segmented."""

    def __init__(self, panel: Panel, run: RunSection, brain: NodeBinding) -> None:
        self._panel, self._run, self._brain = panel, run, brain
        ui = panel.ui
        self._card = BundleCardView(ui.bundleCardLabel)
        self.view = DetectionView(panel)
        self.chooser = ChannelChooser(panel, self._on_look, self._on_double_click)
        self._shown: DetectionNodes | None = None
        for button, action in (
            (ui.detectButton, self._on_detect),
            (ui.chooseChannelButton, self._on_choose),
            (ui.segmentChannelsButton, self._on_segment_channels),
        ):
            button.connect("clicked(bool)", panel.guarded(action))

    def refresh(self) -> None:
        """Card, buttons, the detection that the parameters name, and its channels."""
        ui, p = self._panel.ui, self._panel.parameters
        self._card.show(p.bundleFolder)
        ready = p.inputVolume is not None and bool(p.bundleFolder)
        ui.detectButton.setEnabled(ready or self._run.task is not None)
        try:
            self.view.refresh()
        finally:
            self._show_channels()

    def _show_channels(self) -> None:
        """The chooser of what is shown, where that has channels."""
        ui = self._panel.ui
        try:
            if self.view.nodes is not self._shown:
                self._shown = self.view.nodes
                ui.channelLabel.setText("")
                self.chooser.show(self._shown)
                self._describe()
        finally:
            has_channels = self.chooser.channel is not None
            for widget in (ui.chooseChannelButton, ui.segmentChannelsButton):
                widget.setEnabled(has_channels)
            ui.channelList.setVisible(has_channels)

    def forget(self) -> None:
        """The scene is closed; nothing of it is held."""
        self.view.forget()
        self._shown = None
        self.chooser.show(None)

    def _on_detect(self) -> None:
        p = self._panel.parameters
        self._run.toggle(
            self._panel.ui.detectButton,
            lambda: self._panel.logic.counterfactualTask(
                p.inputVolume,
                p.bundleFolder,
                t1=p.t1Volume,
                brain=self._brain.node,
                minimumMl=p.minimumMl,
                device=p.device,
                prepared=True if p.scanIs == SCANS[1] else None,
            ),
            self.view.show_result,
        )

    def _on_look(self, channel: str) -> None:
        """A picture was clicked: its map over the anatomy; the segmentation stays."""
        with self._panel.guard():
            nodes, p = self.view.require(), self._panel.parameters
            opacity = p.opacity if p.overlay else 0.0
            show_overlay(map_node(nodes, channel), nodes.volume_node, opacity=opacity)
            self._describe()

    def _on_double_click(self, channel: str) -> None:
        with self._panel.guard():
            self._choose(channel)

    def _on_choose(self) -> None:
        self._choose(self.chooser.channel)

    def _choose(self, channel: str | None) -> None:
        self.view.settle()
        nodes, p = self.view.require(), self._panel.parameters
        discard = bool(nodes.edited) and self._run.task is None
        if discard and not slicer.util.confirmYesNoDisplay(
            "This segment was corrected by hand. Replace the corrections by another channel?"
        ):
            return
        self._run.toggle(
            self._panel.ui.chooseChannelButton,
            lambda: self._panel.logic.chooseChannelTask(
                nodes.segmentation_node,
                channel or channels_of(nodes).expected,
                minimumMl=p.minimumMl,
                smoothingMm=p.smoothingMm,
                discardEdits=discard,
            ),
            self.view.renew,
        )

    def _on_segment_channels(self) -> None:
        self.view.settle()
        self._run.toggle(
            self._panel.ui.segmentChannelsButton,
            lambda: self._panel.logic.segmentChannelsTask(self.view.require().segmentation_node),
            self._on_segmented,
        )

    def _on_segmented(self, node: Any) -> None:
        count = node.GetSegmentation().GetNumberOfSegments()
        self._panel.report(f"{node.GetName()}: {count} segments, one for each channel.")

    def _describe(self) -> None:
        """What is segmented, and what is looked at."""
        label = self._panel.ui.channelLabel
        if self._shown is None:
            label.setText("")
            return
        channels = channels_of(self._shown)
        text = f"Segmented: {_called(channels.chosen)}."
        if channels.best:
            text += f" The model itself uses {channels.best} (\N{BLACK STAR})."
        looked = self.chooser.channel
        if looked is not None and looked != channels.chosen:
            text += f" Shown: {looked}; press the button to segment it."
        label.setText(text)


def _called(channel: str) -> str:
    return "the model's own map" if channel == MODEL_MAP else channel
