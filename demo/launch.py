"""Starts the demo: installs and loads the extensions as A1111 does, makes the example pictures, serves the panel."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import threading
import time

FOLDER = os.path.dirname(os.path.abspath(__file__))
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")
sys.path.insert(0, FOLDER)


def run_installers(folders: list[str]) -> None:
    """Each extension's install.py, in a process of its own that can import ``modules``; a failure is told and passed over."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([FOLDER, os.environ.get("PYTHONPATH", "")])}
    for folder in folders:
        path = os.path.join(folder, "install.py")
        if os.path.isfile(path):
            result = subprocess.run([sys.executable, path], env=environment, cwd=FOLDER)
            if result.returncode:
                print(f"*** Error running install.py for extension {folder}", file=sys.stderr)


class Server:
    """The app behind a port, in a thread."""

    def __init__(self, app: object, host: str, port: int) -> None:
        import uvicorn

        self._server = uvicorn.Server(uvicorn.Config(app, host=host, port=port, log_level="warning"))
        self._thread = threading.Thread(target=self._server.run, daemon=True)
        self.host, self.port = host, port

    def start(self) -> str:
        """Returns the address once it answers."""
        self._thread.start()
        while not self._server.started:
            if not self._thread.is_alive():
                raise SystemExit(f"can't listen at {self.host}:{self.port}")
            time.sleep(0.05)
        self.port = self._server.servers[0].sockets[0].getsockname()[1]
        return f"http://{self.host}:{self.port}"

    def wait(self) -> None:
        """Until it is stopped by a signal."""
        while self._thread.is_alive():
            self._thread.join(1)

    def stop(self) -> None:
        self._server.should_exit = True
        self._thread.join(10)


def main() -> None:
    os.environ["COMMANDLINE_ARGS"] = shlex.join(sys.argv[1:])
    from modules import shared_cmd_options

    options = shared_cmd_options.cmd_opts
    run_installers(shared_cmd_options.extension_folders)
    from modules import initialize

    initialize.load()
    app, _ = initialize.create_app()
    server = Server(app, options.server_name, 0 if options.once else options.port)
    address = server.start()
    if options.pictures or options.once:
        import pictures

        pictures.make_all(address, options)
    if options.once:
        return
    print(f"Running on {address}", flush=True)
    try:
        server.wait()
    except KeyboardInterrupt:
        server.stop()


if __name__ == "__main__":
    main()
