"Java for Spark: found on the machine, or installed from Debian's packages."
from __future__ import annotations

import os
import shutil
import subprocess


def find_java() -> str | None: return shutil.which("java")


def install_java() -> str:
    "As root on Debian, install a Java runtime without a screen; gives the reason when that is not possible."
    if not hasattr(os, "geteuid") or os.geteuid() != 0: return " (and not root, so it cannot be installed here)"
    if shutil.which("apt-get") is None: return " (and no apt-get to install it)"
    env = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    for command in (["apt-get", "-qq", "update"], ["apt-get", "-qq", "install", "-y", "--no-install-recommends", "default-jre-headless"]):
        done = subprocess.run(command, capture_output=True, text=True, errors="replace", env=env, stdin=subprocess.DEVNULL)
        if done.returncode: return f" ({' '.join(command[:3])} failed: {(done.stderr.strip().splitlines() or ['no message'])[-1]})"
    return ""


def start_spark(folder, *, master: str = "local[2]"):
    "A small Spark session on this machine only, whose files lie in `folder`."
    from pyspark.sql import SparkSession
    os.environ["SPARK_LOCAL_IP"] = "127.0.0.1"
    quick = "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC"   # a process of two minutes has no use for the best code
    options = {"spark.driver.extraJavaOptions": quick, "spark.ui.enabled": "false", "spark.ui.showConsoleProgress": "false", "spark.driver.bindAddress": "127.0.0.1", "spark.driver.host": "127.0.0.1",
               "spark.sql.session.timeZone": "UTC", "spark.sql.shuffle.partitions": "2", "spark.sql.adaptive.enabled": "false", "spark.sql.codegen.wholeStage": "false",
               "spark.local.dir": str(folder), "spark.sql.warehouse.dir": str(folder/"warehouse"), "spark.log.level": "ERROR"}
    builder = SparkSession.builder.master(master).appName("crmlab tests")
    for key, value in options.items(): builder = builder.config(key, value)
    return builder.getOrCreate()
