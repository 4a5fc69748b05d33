"""Python imports this when it starts with this folder on its path: nothing then gets the final name `NEVER_NAMED`.

So the work on it ends by a signal alone, however slow or fast the machine is.
"""

import functools
import os
import time

_NAME = os.environ["NEVER_NAMED"]


def _endless(call):
    @functools.wraps(call)
    def named(source, target, **options):
        if os.path.basename(target) == _NAME:
            time.sleep(60)
            raise AssertionError(f"no signal has come within 60 s of the moment at which {_NAME} was to be named")
        return call(source, target, **options)

    return named


os.link, os.rename, os.replace = map(_endless, (os.link, os.rename, os.replace))
