"What pyproject.toml cannot say: all sub-packages there are, and reports/templates/ shipped as crmlab/templates/."
from setuptools import find_packages, setup

setup(packages=[*find_packages(include=["crmlab*"]), "crmlab.templates"], package_dir={"crmlab.templates": "reports/templates"})
