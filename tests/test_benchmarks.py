"""The documents show the measured figures, and the figures keep within their limits."""

from __future__ import annotations

import contextlib
import importlib
import json
import re
import socket
import ssl
import sysconfig
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from benchmarks import (
    __main__ as main,
    budget,
    cold,
    estimate,
    figures,
    machine,
    packages,
    trust,
    warm,
)
from benchmarks.figures import (
    HEADLINE,
    OVERVIEWS,
    PLOTS,
    TABLES,
    Check,
    Figures,
    digest,
    filled,
    markdown,
    times,
)
from benchmarks.service import Service

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[1]
RESULTS: dict[str, Any] = json.loads((ROOT / "benchmarks/results.json").read_text("utf-8"))
PAGES = ("README.md", "docs/figures.md", "docs/redaction.md")
MARKS = {f"{name} {key}".strip() for name, keys in TABLES.items() for key in keys}
# Limits that are missed, each explained in docs/figures.md.
EXPLAINED: set[str] = set()


class TestWhatIsShown:
    """Pages, plots and limits against results.json."""

    @pytest.mark.parametrize("page", PAGES)
    def test_a_page_shows_what_was_measured(self, page: str) -> None:
        """Every table between two marks is the one from results.json."""
        text = (ROOT / page).read_text("utf-8")
        assert filled(text, RESULTS) == text

    def test_every_table_has_its_place(self) -> None:
        """Every measured table has its marks on a page, and every mark has its table."""
        marks = {
            mark
            for page in PAGES
            for mark in re.findall(r"<!-- ([\w ]+) -->", (ROOT / page).read_text("utf-8"))
        }
        assert marks == {*MARKS, *OVERVIEWS, "end"}

    def test_results_are_of_measurements_that_there_are(self) -> None:
        """Every table in results.json can still be measured."""
        assert {*figures.tables(RESULTS)} <= {*MARKS, *OVERVIEWS}

    def test_everything_is_measured(self) -> None:
        """results.json has a table for each mark."""
        assert {*figures.tables(RESULTS)} == {*MARKS, *OVERVIEWS}

    def test_a_plot_is_drawn_from_what_was_measured(self) -> None:
        """Each plot carries the digest of the results that it shows."""
        drawn = {name: figures for name, figures in RESULTS.items() if name in PLOTS}
        assert drawn
        for name, figures_ in drawn.items():
            assert digest(figures_) in (ROOT / f"docs/figures/{name}.svg").read_text("utf-8")

    def test_limits_hold(self) -> None:
        """Every measurement keeps within its limit, except those that the page explains."""
        checks = [check for found in RESULTS.values() for check in found["checks"]]
        assert checks
        assert {check["what"] for check in checks if not check["holds"]} <= EXPLAINED


@pytest.fixture
def results() -> dict[str, Any]:
    """Return results in which each cell of the headline names its own origin."""
    found: dict[str, Any] = {}
    for _, name, key, _, contestants in HEADLINE:
        cells = [f"{name} {key} {n}" for n in range(1, 6)]
        table = [[contestant, *cells] for contestant in contestants if contestant]
        made = found.setdefault(name, {"tables": {}, "checks": [], "python": "3.14", "system": "x"})
        made["tables"].setdefault(key, [["", *"12345"]]).extend(table)
    return found


class TestDocuments:
    """How tables get into documents."""

    def test_the_headline_takes_its_cells_from_the_tables(self, results: dict[str, Any]) -> None:
        """Each row shows its column's cells, and a blank where there is no contestant."""
        head, *rows = figures.headline(results)
        assert len(head) == 4
        for row, (what, name, key, column, contestants) in zip(rows, HEADLINE, strict=True):
            assert row[0] == what
            for cell, contestant in zip(row[1:], contestants, strict=True):
                assert cell == (f"{name} {key} {column}" if contestant else "")

    def test_a_column_of_the_headline_shows_its_own_contestants(self) -> None:
        """Each cell comes from a contestant that was measured and that the column's head names."""
        head = figures.headline(RESULTS)[0][1:]
        for what, name, key, _, contestants in HEADLINE:
            measured = {row[0] for row in RESULTS[name]["tables"][key]}
            for column, contestant in zip(head, contestants, strict=True):
                if contestant:
                    assert contestant in measured, what
                    assert contestant.startswith(column), what

    def test_the_headline_shows_what_does_not_flatter(self) -> None:
        """The zip without bytecode is first; defaults, other roots and size have rows too."""
        rows = [what for what, *_ in HEADLINE]
        assert rows[0] == "cold start, zip without bytecode, extension, ms"
        assert any("by default" in what for what in rows)
        assert any("root not Amazon's" in what for what in rows)
        assert any("added to the zip" in what for what in rows)

    def test_a_page_without_figures_keeps_what_it_has(self, results: dict[str, Any]) -> None:
        """A headline stays unchanged if part of it was not measured."""
        del results["tail"]
        page = "<!-- headline -->\nold\n<!-- end -->"
        assert filled(page, results) == page

    def test_a_table_stands_between_its_marks(self, results: dict[str, Any]) -> None:
        """The old table is replaced, and the text around the marks stays."""
        results = {"tail": {**results["tail"], "tables": {"": [["a"], ["b"]]}}}
        page = "before\n<!-- tail -->\nold\n<!-- end -->\nafter"
        table = "<!-- tail -->\n\n| a |\n|---|\n| b |\n\n<!-- end -->"
        assert filled(page, results) == f"before\n{table}\nafter"

    def test_what_is_missed_is_shown(self, results: dict[str, Any]) -> None:
        """The table of limits marks the missed ones."""
        checks = [Check("a / b", 1.2, 1.0), Check("c / d", 0.5, 1.0)]
        results["tail"]["checks"] = [{**check._asdict(), "holds": check.holds} for check in checks]
        assert figures.checked(results)[1:] == [
            ["a / b", "1.20", "at most 1", "MISSED"],
            ["c / d", "0.50", "at most 1", ""],
        ]

    def test_the_page_names_the_interpreter(self, results: dict[str, Any]) -> None:
        """Measurements are grouped by the Python version and machine they were made on."""
        results["tail"]["python"] = "3.11"
        others = ", ".join(name for name in results if name != "tail")
        assert [others, "3.14", "x"] in figures.environment(results)
        assert ["tail", "3.11", "x"] in figures.environment(results)

    @pytest.mark.parametrize(
        ("ratio", "at_least", "holds"),
        [
            (0.9, False, True),
            (1.0, False, True),
            (1.1, False, False),
            (1.1, True, True),
            (1.0, True, True),
            (0.9, True, False),
        ],
    )
    def test_a_check_holds_up_to_its_limit(self, ratio: float, at_least: bool, holds: bool) -> None:
        """A ratio is limited from above, or from below with `at_least`."""
        check = Check("it", ratio, 1.0, at_least=at_least)
        assert check.holds is holds
        assert ("MISSED" in str(check)) is not holds

    def test_a_table_is_markdown(self) -> None:
        """Columns are as wide as their widest cell."""
        table = [["", "ms"], ["ours", "1"]]
        assert markdown(table) == "|      | ms |\n|------|----|\n| ours | 1  |"

    def test_a_ratio_is_as_precise_as_it_is_worth(self) -> None:
        """A ratio of ten or more has no decimals."""
        shown = [times(ratio) for ratio in (0.123, 9.994, 10.0, 74.6)]
        assert shown == ["0.12", "9.99", "10", "75"]

    @pytest.mark.parametrize(
        ("options", "optimized"),
        [
            ("'--enable-optimizations' '--with-lto'", True),
            ("'--with-wheel-pkg-dir=/usr/share/python-wheels/'", True),
            ("'--enable-shared'", False),
            (None, False),
        ],
    )
    def test_an_optimized_interpreter_is_known(
        self, monkeypatch: pytest.MonkeyPatch, options: str | None, optimized: bool
    ) -> None:
        """An optimized interpreter is known by its build options, or as a Debian package."""
        monkeypatch.setattr(sysconfig, "get_config_var", {"CONFIG_ARGS": options}.get)
        assert figures.optimized() is optimized


class TestBudget:
    """The code that a cold start compiles."""

    def test_the_cold_path_is_what_a_start_loads(self) -> None:
        """A start through the extension loads the extension's backend, not the SDK's."""
        path = budget.cold_path()
        assert {"lambda_secrets", "lambda_secrets.backends._extension"} <= path.keys()
        assert not [name for name in path if "_sdk" in name or ".cli" in name]
        assert all(file.is_relative_to(ROOT / "lambda_secrets") for file in path.values())

    def test_nodes_are_those_of_the_syntax_tree(self, tmp_path: Path) -> None:
        """Comments add no nodes."""
        module = tmp_path / "module.py"
        module.write_text("x = 1  # a comment\n")
        assert budget.nodes(module) == 5  # Module, Assign, Name, Store, Constant

    def test_lines_are_those_of_the_library(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The command line and stubs are not counted."""
        (tmp_path / "cli").mkdir()
        for name in ("a.py", "a.pyi", "cli/b.py"):
            (tmp_path / name).write_text("x = 1\n\n")
        monkeypatch.setattr(budget, "PACKAGE", tmp_path)
        assert budget.library_lines() == 2

    @pytest.mark.parametrize(("nodes", "status"), [(1_000_000, 0), (1, 1)])
    def test_it_fails_above_the_budget(
        self,
        nodes: int,
        status: int,
        monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        """The command prints each module, and returns 1 above the budget."""
        monkeypatch.setattr(budget, "NODES", nodes)
        monkeypatch.setattr(budget, "LINES", 1_000_000)
        assert budget.main() == status
        assert "`lambda_secrets.errors`" in capsys.readouterr().out


@pytest.fixture(scope="module")
def trusts(tmp_path_factory: pytest.TempPathFactory) -> dict[str, trust.Trust]:
    """Return two trust stores, each with the root of one server's certificate."""
    return trust.made(tmp_path_factory.mktemp("trust"), machine.AMAZON, machine.OTHER)


@pytest.fixture
def service(trusts: dict[str, trust.Trust]) -> Iterator[Service]:
    """Run a stand-in with TLS that refuses the third call to AWS within a second."""
    with Service(quota=2, trust=trusts[machine.AMAZON]) as running:
        yield running


class TestStandIn:
    """AWS and the extension, as contestants meet them."""

    def test_a_store_has_the_roots_of_a_machine(self, trusts: dict[str, trust.Trust]) -> None:
        """A store has 141 roots; only the one for Amazon has a root that names Amazon."""
        names = {}
        for organization, made in trusts.items():
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            context.load_verify_locations(made.store)
            roots = context.get_ca_certs()
            assert len(roots) == 141
            names[organization] = "Amazon" in str(roots)
        assert names == {"Amazon": True, "Example": False}

    def test_a_client_trusts_the_server_of_its_store(
        self, trusts: dict[str, trust.Trust], service: Service
    ) -> None:
        """A client with another store refuses the server."""
        for organization, made in trusts.items():
            context = ssl.create_default_context(cafile=str(made.store))
            refused = (
                contextlib.nullcontext()
                if organization == "Amazon"
                else pytest.raises(ssl.SSLError)
            )
            with socket.create_connection(("localhost", service.tls_port)) as plain, refused:
                context.wrap_socket(plain, server_hostname="localhost").close()

    def test_a_quota_refuses_what_exceeds_it(
        self, service: Service, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The hand-written signed call reads over TLS until it is throttled."""
        for name, value in service.tls_environment("SSL_CERT_FILE").items():
            monkeypatch.setenv(name, value)
        signed = importlib.import_module("benchmarks.handlers.signed")
        monkeypatch.setattr(signed, "_tls", ssl.create_default_context())
        names = [f"prod/{index}" for index in range(9)]
        with pytest.raises(RuntimeError, match="HTTP 400"):
            [signed.get_secret(name) for name in names]
        assert 3 <= service.calls()["GetSecretValue"] < 9

    def test_the_extension_has_no_quota(
        self, service: Service, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The hand-written client of the extension is never refused."""
        for name, value in service.environment.items():
            monkeypatch.setenv(name, value)
        by_hand = importlib.import_module("benchmarks.handlers.by_hand")
        assert [by_hand.get_secret(f"prod/{index}")["user"] for index in range(9)]
        assert service.calls() == {"extension": 9}

    def test_the_call_by_hand_is_signed(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """The hand-written call has the signature that botocore computes."""
        credentials = {"AWS_ACCESS_KEY_ID": "AKID", "AWS_SECRET_ACCESS_KEY": "made-up"}
        for name, value in {**credentials, "AWS_SESSION_TOKEN": "token"}.items():
            monkeypatch.setenv(name, value)
        signed = importlib.import_module("benchmarks.handlers.signed")
        headers = signed.headers("localhost:443", "eu-west-1", b"{}")
        authorization = headers.pop("authorization")
        request = AWSRequest("POST", "https://localhost:443/", headers, b"{}")
        request.context["timestamp"] = headers["x-amz-date"]
        auth = SigV4Auth(Credentials("AKID", "made-up"), "secretsmanager", "eu-west-1")
        text = auth.string_to_sign(request, auth.canonical_request(request))
        assert authorization.endswith(f"Signature={auth.signature(text, request)}")


class TestPackages:
    """The packages that contestants are deployed as."""

    def test_what_the_runtime_ships_is_left_out(self, tmp_path: Path) -> None:
        """Folders and single modules that the runtime ships are removed."""
        package, shipped = tmp_path / "package", tmp_path / "shipped"
        for folder in (package, shipped):
            (folder / "botocore").mkdir(parents=True)
            (folder / "six.py").write_text("")
        (package / "ours.py").write_text("x" * 1000)
        (shipped / "boto3").mkdir()
        packages.without(package, shipped)
        assert [path.name for path in package.iterdir()] == ["ours.py"]
        assert packages.unzipped(package) == 1000
        assert 0 < packages.zipped(package) < 300

    def test_an_estimate_stretches_what_is_computed(self) -> None:
        """CPU time is stretched below a whole processor's memory; waiting time is not."""
        assert estimate.seconds(0.3, 0.1, 1_769) == pytest.approx(0.3)
        assert estimate.seconds(0.3, 0.1, 3_538) == pytest.approx(0.3)
        assert estimate.seconds(0.3, 0.1, 128) == pytest.approx(0.2 + 0.1 * 1_769 / 128)
        assert estimate.seconds(0.1, 0.3, 1_769) == pytest.approx(0.3)  # in parallel
        table = estimate.estimated({"ours": [(0.3, 0.1)]})
        assert table[1] == ["ours", "1,582", "546", "300", "3.30", "4.55", "8.64"]

    def test_ratios_compare_what_is_above_the_bare_handler(self) -> None:
        """The bare handler is subtracted in each round, or from the fastest starts."""

        def pairs(*cpu: tuple[float, float]) -> list[cold.Pair]:
            return [
                cold.Pair(machine.Start(9, bare), machine.Start(9, start)) for bare, start in cpu
            ]

        found = {"a": pairs((1, 2), (1, 3), (2, 5)), "b": pairs((1, 3), (1, 5), (1, 4))}
        assert cold.typical(found, "a", "b") == pytest.approx(0.5)
        assert cold.fastest(found, "a", "b") == pytest.approx(0.5)
        assert cold.checks_of({"zip": found}) == []


class TestRegression:
    """The short form, which checks the limits."""

    @pytest.fixture
    def short(self, monkeypatch: pytest.MonkeyPatch) -> list[list[Check]]:
        """Return the check lists that the short form finds, one per try, without a machine."""
        tries: list[list[Check]] = []
        monkeypatch.setattr(cold, "machine", lambda names: contextlib.nullcontext())
        monkeypatch.setattr(budget, "measure", lambda: Figures("", {"": [[""]]}, [], {}))
        monkeypatch.setattr(warm, "measure", lambda **options: Figures("", {}, [], {}))
        monkeypatch.setattr(main, "apart", lambda measurement: Figures("", {}, [], {}))
        monkeypatch.setattr(cold, "short", lambda machine: Figures("", {}, tries.pop(0), {}))
        monkeypatch.setattr(main, "PENDING", {"pending": 1.2})
        return tries

    def test_a_limit_is_missed_if_it_is_missed_each_time(self, short: list[list[Check]]) -> None:
        """A limit missed in three tries is a regression."""
        short += [[Check("it", 1.1, 1.0)]] * 3
        assert main.regressed()
        assert not short

    def test_one_try_suffices(self, short: list[list[Check]]) -> None:
        """One good try is enough, as another process may have disturbed the first."""
        short += [[Check("it", 1.1, 1.0)], [Check("it", 1.0, 1.0)]]
        assert not main.regressed()

    @pytest.mark.parametrize(("ratio", "regressed"), [(1.2, False), (1.21, True)])
    def test_what_is_pending_must_not_get_worse(
        self,
        short: list[list[Check]],
        capsys: pytest.CaptureFixture[str],
        ratio: float,
        regressed: bool,
    ) -> None:
        """A pending limit is shown as missed, but only a ratio above its own is a regression."""
        short += [[Check("pending", ratio, 1.0)]] * 3
        assert main.regressed() is regressed
        assert "MISSED" in capsys.readouterr().out

    def test_the_budget_is_held_at_once(
        self, short: list[list[Check]], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The budget is checked only once, as another count would give the same."""
        over = Figures("", {"": [[""]]}, [Check("budget", 1.1, 1.0)], {})
        monkeypatch.setattr(budget, "measure", lambda: over)
        assert main.regressed()
