"""The C++ half of the comparison as a child process that lives beside PyTorch."""
import os
import subprocess


class Child:
    """Sends one command a line to a preheat_peers program and reads one line of answer."""

    def __init__(self, program, threads=1, blas_threads=False):
        environment = dict(os.environ)
        environment.pop("OPENBLAS_CORETYPE", None)
        environment.pop("OPENBLAS_L2_SIZE", None)
        self.process = subprocess.Popen([program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
                                        env=environment)
        if threads:  # a device has none to set
            self.ask(f"{'blas_threads' if blas_threads else 'threads'} {threads}")
        self.about = self.ask("about")

    def ask(self, command):
        self.process.stdin.write(command + "\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline().rstrip("\n")
        if not answer:
            raise RuntimeError(f"preheat_peers ended at: {command}")
        if answer.startswith("error "):
            raise RuntimeError(f"preheat_peers: {answer[6:]} (at: {command})")
        return answer

    def run(self, count=1):
        """CPU (on a GPU: the device's) and wall milliseconds of one of `count` runs."""
        cpu, wall = self.ask(f"run {count}").split()
        return float(cpu), float(wall)

    def close(self):
        """Ends the program; answers its peak memory in bytes."""
        memory = int(self.ask("memory"))
        self.process.stdin.close()
        self.process.wait()
        return memory
