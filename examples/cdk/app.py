"""The stack: a database login, the function that reads it, and the AWS extension between them."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import jsii
from aws_cdk import App, AssetHashType, BundlingOptions, Duration, ILocalBundling, Stack
from aws_cdk.aws_lambda import (
    Architecture,
    Code,
    Function,
    ParamsAndSecretsLayerVersion,
    ParamsAndSecretsLogLevel,
    ParamsAndSecretsVersions,
    Runtime,
)
from aws_cdk.aws_secretsmanager import Secret, SecretStringGenerator

SOURCE = Path(__file__).with_name("function")
RUNTIME = Runtime.PYTHON_3_13
LOGIN = {"username": "app", "host": "db.example.internal", "port": 5432}


@jsii.implements(ILocalBundling)
class Bundle:
    """Installs the function and its requirements with bytecode, without Docker."""

    def try_bundle(self, output_dir: str, options: Any) -> bool:
        """Fill the folder that CDK zips; zipping changes file times, so bytecode has hashes."""
        python = RUNTIME.name
        pip = [python, "-m", "pip", "install", "--quiet", "--no-compile", "--target", output_dir]
        pip += ["--platform", "manylinux2014_x86_64", "--only-binary", ":all:"]
        subprocess.run([*pip, "--requirement", SOURCE / "requirements.txt"], check=True)
        Path(output_dir, "app.py").write_text((SOURCE / "app.py").read_text("utf-8"), "utf-8")
        compile_all = [python, "-m", "compileall", "-q", "--invalidation-mode", "checked-hash"]
        subprocess.run([*compile_all, output_dir], check=True)
        return True


class Example(Stack):
    """Everything that the function needs."""

    def __init__(self, app: App, name: str) -> None:
        """Describe the resources."""
        super().__init__(app, name)
        login = SecretStringGenerator(
            secret_string_template=json.dumps(LOGIN),
            generate_string_key="password",
            exclude_punctuation=True,
        )
        database = Secret(self, "Database", secret_name="example/db", generate_secret_string=login)
        bundling = BundlingOptions(image=RUNTIME.bundling_image, local=Bundle())
        function = Function(
            self,
            "Function",
            runtime=RUNTIME,
            architecture=Architecture.X86_64,
            handler="app.lambda_handler",
            code=Code.from_asset(
                str(SOURCE), asset_hash_type=AssetHashType.OUTPUT, bundling=bundling
            ),
            memory_size=256,
            timeout=Duration.seconds(10),
            params_and_secrets=ParamsAndSecretsLayerVersion.from_version(
                ParamsAndSecretsVersions.V1_0_103,
                secrets_manager_ttl=Duration.seconds(0),  # cache off, so ttl in app.py is exact
                log_level=ParamsAndSecretsLogLevel.WARN,
            ),
        )
        database.grant_read(function)


app = App()
Example(app, "LambdaSecretsExample")
app.synth()
