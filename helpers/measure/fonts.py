"""Chinese in charts: the font they fall back on, and what to do where there is none. No font is shipped."""

import warnings

import matplotlib.pyplot as plt
from matplotlib import font_manager

from helpers.rows.read import CJK

# matplotlib's own font has no Chinese; these are what systems usually come with. The first that is there is used.
CHINESE = (
    "Noto Sans CJK SC", "Noto Sans SC", "Source Han Sans SC", "Microsoft YaHei", "PingFang SC", "Hiragino Sans GB",
    "Heiti TC", "SimHei", "WenQuanYi Micro Hei", "WenQuanYi Zen Hei", "Noto Sans CJK JP", "Arial Unicode MS",
)  # fmt: skip


def take() -> str:
    """Let every chart fall back on an installed Chinese font, glyph by glyph; returns its name, or ``""``."""
    there = font_manager.fontManager.get_font_names()
    found = next((name for name in CHINESE if name in there), "")
    plt.rcParams["font.family"] = ["sans-serif", found] if found else ["sans-serif"]
    return found


FOUND = take()


def check(*texts: str) -> None:
    """Warn, with the cure, if a chart is to show Chinese and no font here has it."""
    if not FOUND and any(CJK.search(text) for text in texts):
        warnings.warn(
            "no font with Chinese characters is installed, so they show as boxes in this chart. What to do: install "
            "one (Debian and Ubuntu: apt install fonts-noto-cjk), delete matplotlib's cache and restart the kernel",
            stacklevel=3,
        )
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
