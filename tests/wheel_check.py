"What must work where only the wheel is installed. The gate runs it in an empty environment, outside the repository."
import sys
from importlib import metadata, resources
from pathlib import Path

import crmlab as cl

assert "site-packages" in Path(cl.__file__).parts, f"crmlab comes from {cl.__file__}, not from the wheel"
assert cl.__version__ == metadata.version("crmlab"), "the version of the package and of the wheel differ"
heavy = {"matplotlib", "seaborn", "papermill", "anywidget", "nbconvert", "pymc"} & sys.modules.keys()
assert not heavy, f"import crmlab loads {heavy}"
for name in getattr(cl, "__all__", []):
    assert getattr(cl, name) is not None, name
assert resources.files("crmlab").joinpath("assets/words.toml").is_file()
print(f"crmlab {cl.__version__}: {len(getattr(cl, '__all__', []))} public names")
