"""Runs programs that speak the protocol of worker.h, in turn, and compares their times."""
import os
import signal
import subprocess
import time

MIN_ROUNDS = 5


class Failed(Exception):
    """A program is not there, ended, or answered with an error."""


class Worker:
    """One program. It is stopped while others run: idle threads of some libraries spin."""

    def __init__(self, command, environment=None, quiet=True):
        stderr = subprocess.DEVNULL if quiet else None
        try:
            self.process = subprocess.Popen(
                [str(word) for word in command], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                stderr=stderr, text=True, env={**os.environ, **(environment or {})})
        except OSError as e:
            raise Failed(str(e)) from e
        try:
            self.about = self.ask("about")
        except Failed:
            self.end()
            raise

    def ask(self, line):
        """What follows the "ok" of the answer."""
        p = self.process
        try:
            p.send_signal(signal.SIGCONT)
            p.stdin.write(line + "\n")
            p.stdin.flush()
            reply = p.stdout.readline().strip()
            p.send_signal(signal.SIGSTOP)
        except OSError as e:
            raise Failed(str(e)) from e
        verdict, _, rest = reply.partition(" ")
        if verdict != "ok":
            raise Failed(rest or "it ended")
        return rest

    def open(self, *words):
        number, work = self.ask("open " + " ".join(str(word) for word in words)).split()
        return Case(self, int(number), float(work))

    def end(self):
        p = self.process
        p.send_signal(signal.SIGCONT)
        try:
            p.stdin.close()
        except OSError:
            pass  # it has ended already
        try:
            p.wait(5)
        except subprocess.TimeoutExpired:
            p.kill()
            p.wait()
        p.stdout.close()


class Case:
    """Something to call again and again. work: of one call."""

    def __init__(self, worker, number, work):
        self.worker, self.number, self.work = worker, number, work

    def seconds_a_call(self, seconds):
        calls, elapsed = self.worker.ask(f"run {self.number} {seconds}").split()
        return float(elapsed) / int(calls)

    def close(self):
        self.worker.ask(f"close {self.number}")


class Summary:
    """Median and quartiles of one value a round."""

    def __init__(self, values):
        self.values = sorted(values)
        self.n = len(values)
        self.low, self.median, self.high = (self._at(share) for share in (0.25, 0.5, 0.75))

    def _at(self, share):
        where = share * (self.n - 1)
        i = int(where)
        return self.values[i] + (where - i) * (self.values[min(i + 1, self.n - 1)] - self.values[i])

    def json(self):
        return {"median": self.median, "low": self.low, "high": self.high, "n": self.n}


class Rounds:
    """The seconds of a call of each case, round by round."""

    def __init__(self, cases, seconds):
        self.work = {name: case.work for name, case in cases.items()}
        self.seconds = seconds

    def __contains__(self, name):
        return name in self.seconds

    def of(self, formula, *names):
        """Summary of formula(seconds, ...) in each round, or None when a case was not measured."""
        if not all(name in self for name in names):
            return None
        return Summary([formula(*times) for times in zip(*(self.seconds[n] for n in names))])

    def microseconds(self, name):
        return self.of(lambda s: 1e6 * s, name)

    def rate(self, name, unit=1e9, work=None):
        """Work a second."""
        if name not in self:
            return None
        work = self.work[name] if work is None else work
        return self.of(lambda s: work / s / unit, name)

    def speed(self, name, other):
        """How many times as fast as the other, for the same work."""
        return self.of(lambda s, o: o / s, name, other)

    def rate_ratio(self, name, other):
        """The same where a call of one is another amount of work than a call of the other."""
        if name not in self or other not in self:
            return None
        share = self.work[name] / self.work[other]
        return self.of(lambda s, o: share * o / s, name, other)


def alternate(cases, rounds, seconds, deadline):
    """Measures all cases in each round, every second round in the opposite order. Past the deadline
    there are fewer rounds."""
    names = list(cases)
    times = {name: [] for name in names}
    for i in range(rounds):
        if i >= MIN_ROUNDS and time.monotonic() > deadline:
            break
        for name in names if i % 2 == 0 else reversed(names):
            times[name].append(cases[name].seconds_a_call(seconds))
    return Rounds(cases, times)


def open_cases(wanted, say):
    """wanted: {name: (worker or None, words)}. What cannot be opened is left out, with a word."""
    cases = {}
    for name, (worker, words) in wanted.items():
        if worker is None:
            continue
        try:
            cases[name] = worker.open(*words)
        except Failed as e:
            say(f"{name}: left out: {e}")
    return cases


def measure(wanted, rounds, seconds, deadline, say):
    cases = open_cases(wanted, say)
    result = alternate(cases, rounds, seconds, deadline)
    for case in cases.values():
        case.close()
    return result
