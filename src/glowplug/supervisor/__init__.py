"""Local worker processes, kept alive: `plan` says what to run, `process` is one life, `keeper` starts the next.

`model_options` shares the options out among the models.
"""

from glowplug.supervisor.following import follow_supervisor
from glowplug.supervisor.keeper import Supervisor, SupervisorPolicy
from glowplug.supervisor.model_options import check_options, handed_down, options_of, tell_idle_tables
from glowplug.supervisor.plan import WorkerPlan, check_target, guessed_name, plan_workers
from glowplug.supervisor.process import to_stderr

__all__ = [
    "Supervisor",
    "SupervisorPolicy",
    "WorkerPlan",
    "check_options",
    "check_target",
    "follow_supervisor",
    "guessed_name",
    "handed_down",
    "options_of",
    "plan_workers",
    "tell_idle_tables",
    "to_stderr",
]
