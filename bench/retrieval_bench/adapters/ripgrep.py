"""ripgrep, as people search without an index: the whole question as one literal, or its keywords OR-ed."""

import json
import re
import subprocess
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path, PurePosixPath

from coding_assistant.terms import STOP_WORDS
from retrieval_bench.adapters.adapter import MOST_SPANS, BuildCosts
from retrieval_bench.spans import Budget, Span

# Lines shown on either side of a match, about what reading around a hit takes.
CONTEXT_LINES = 5
_WORD = re.compile(r"\w+")
_SHORTEST_KEYWORD_CHARACTERS = 2
# rg's exit code for "nothing found"; above it is a failure.
_NOTHING_FOUND = 1


class RipgrepLiteral:
    """The whole question as one fixed string, case ignored."""

    def build(self, root: Path, workspace: Path) -> BuildCosts:  # noqa: ARG002  -- nothing is kept
        """Index nothing."""
        self._root = root
        return BuildCosts(files=0, chunks=0, index_bytes=0)

    def refresh(self) -> None:
        """Have nothing to bring up to date."""

    def search(self, query: str, limit: int) -> Sequence[Span]:
        """Return each file that matches as its first window, the file with most matches first."""
        windows = self._windows_by_file(query)
        return [spans[0] for spans in windows if spans][:limit]

    def sources(self, query: str, _budget: Budget, *, context: str = "") -> Sequence[Span]:
        """Return the windows around the matches, file by file."""
        return [span for spans in self._windows_by_file(f"{query} {context}") for span in spans][:MOST_SPANS]

    def close(self) -> None:
        """Keep nothing open."""

    def _patterns(self, query: str) -> list[str]:
        return query.splitlines()

    def _windows_by_file(self, query: str) -> list[list[Span]]:
        patterns = [pattern for pattern in self._patterns(query) if pattern.strip()]
        if not patterns:
            return []
        matched: dict[PurePosixPath, list[int]] = {}
        counts: Counter[PurePosixPath] = Counter()
        for path, line, count in self._matches(patterns):
            matched.setdefault(path, []).append(line)
            counts[path] += count
        best_first = sorted(counts, key=lambda path: (-counts[path], path))
        return [_windows(self._root, path, matched[path]) for path in best_first]

    def _matches(self, patterns: Sequence[str]) -> Iterable[tuple[PurePosixPath, int, int]]:
        """Yield the path, line and number of matches of every line that matches."""
        options = ["--json", "--fixed-strings", "--ignore-case", "--no-config", "--sort", "path"]
        expressions = [part for pattern in patterns for part in ("--regexp", pattern)]
        done = subprocess.run(
            ["rg", *options, *expressions, "."],  # noqa: S607  -- whichever rg this environment has
            cwd=self._root,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode > _NOTHING_FOUND:
            raise RuntimeError(f"ripgrep failed: {done.stderr.strip()}")
        for event in map(json.loads, done.stdout.splitlines()):
            if event["type"] == "match" and "text" in event["data"]["path"]:
                data = event["data"]
                yield PurePosixPath(data["path"]["text"]), data["line_number"], len(data["submatches"])


class RipgrepKeywords(RipgrepLiteral):
    """The question's words but its stop words, OR-ed; files in the order of their counted matches."""

    def _patterns(self, query: str) -> list[str]:
        words = dict.fromkeys(word.lower() for word in _WORD.findall(query))
        return [
            word for word in words if word not in STOP_WORDS and len(word) >= _SHORTEST_KEYWORD_CHARACTERS
        ]


def _windows(root: Path, path: PurePosixPath, matched: Iterable[int]) -> list[Span]:
    """Return the lines around the matches; windows that meet are one."""
    lines = (root / path).read_text(errors="replace").split("\n")
    windows: list[tuple[int, int]] = []
    for line in matched:
        start, end = max(1, line - CONTEXT_LINES), min(len(lines), line + CONTEXT_LINES)
        if windows and start <= windows[-1][1] + 1:
            windows[-1] = (windows[-1][0], end)
        else:
            windows.append((start, end))
    return [Span(path, start, end, "\n".join(lines[start - 1 : end])) for start, end in windows]
