#!/usr/bin/env python3
"""screenshots.py BROWSER HTML OUT [PAGE...]: opens pages of the site in headless Chromium at two widths and says what does not look right:
a page or a part of the page wider than the window, a picture or a file that did not load, a formula that MathJax could not read, an error
of a script. The guide's pages and the named ones are opened; pictures of the named ones go to OUT. It speaks the DevTools protocol over a pipe."""
import base64
import json
import os
import pathlib
import signal
import subprocess
import sys
import tempfile

WIDTHS = (1280, 400)
# What is wider than the window without a scroll bar of its own, and pictures that have no size; waits for the formulas.
JUDGE = """new Promise(done => {
  const judge = () => {
    const faults = [];
    const width = document.documentElement.clientWidth;
    if (document.documentElement.scrollWidth > width)
      faults.push(`the page is ${document.documentElement.scrollWidth} wide in a window of ${width}`);
    const main = document.getElementById('doc-content') || document.body;
    if (main.scrollWidth > main.clientWidth) {
      const right = main.getBoundingClientRect().left + main.clientWidth;
      const scrolls = part => part !== main && (getComputedStyle(part).overflowX !== 'visible' || scrolls(part.parentElement));
      const wide = [...main.querySelectorAll('*')].filter(part => part.getBoundingClientRect().right > right + 1 && !scrolls(part));
      faults.push(`the text is ${main.scrollWidth} wide in a column of ${main.clientWidth}: ` +
                  wide.slice(0, 4).map(part => `${part.tagName} ${part.className}`).join(', '));
    }
    if (main.clientWidth < 0.6 * width)
      faults.push(`the text has ${main.clientWidth} of ${width}`);
    for (const picture of document.images)
      if (picture.getClientRects().length && !(picture.complete && picture.naturalWidth > 0))
        faults.push(`no picture: ${picture.src}`);
    for (const picture of document.querySelectorAll('object'))
      if (!(picture.clientHeight > 50))
        faults.push(`no picture: ${picture.data}`);
    for (const part of main.querySelectorAll('.fragment, pre, table.markdownTable'))
      if (!part.getClientRects().length)
        faults.push(`hidden: ${part.textContent.slice(0, 40)}`);
    const formulas = document.querySelectorAll('.formulaDsp, .formulaInl').length;
    if (formulas > 0 && MathJax.Hub.getAllJax().length < formulas)
      faults.push(`of ${formulas} formulas ${MathJax.Hub.getAllJax().length} are shown`);
    for (const error of document.querySelectorAll('.MathJax_Error, .merror'))
      faults.push(`no formula: ${error.textContent}`);
    done(faults);
  };
  const since = Date.now();
  const wait = () => {
    if (window.MathJax && MathJax.isReady) MathJax.Hub.Queue(judge);
    else if (!document.querySelector('script[src*=MathJax]')) judge();
    else if (Date.now() - since > 30000) done(['MathJax did not start']);
    else setTimeout(wait, 20);
  };
  wait();
})"""


class Browser:
    """Chromium at the other end of two pipes: messages are JSON, each ended by a zero byte."""

    def __init__(self, program):
        to_browser, self.write = os.pipe()
        self.read, from_browser = os.pipe()
        copies = os.dup(to_browser), os.dup(from_browser)  # above 4, so that neither is overwritten before it is copied
        self.profile = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
        arguments = [program, "--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--no-first-run",
                     "--disable-dev-shm-usage", "--allow-file-access-from-files", f"--user-data-dir={self.profile.name}",
                     "--remote-debugging-pipe"]

        def connect():
            os.dup2(copies[0], 3, inheritable=True)
            os.dup2(copies[1], 4, inheritable=True)

        self.process = subprocess.Popen(arguments, preexec_fn=connect, close_fds=False, stdin=subprocess.DEVNULL,
                                        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        for end in (to_browser, from_browser, *copies):
            os.close(end)
        self.count = 0
        self.events = []
        self.buffer = b""

    def receive(self):
        while b"\0" not in self.buffer:
            part = os.read(self.read, 1 << 20)
            if not part:
                raise SystemExit("screenshots.py: the browser has ended")
            self.buffer += part
        message, self.buffer = self.buffer.split(b"\0", 1)
        return json.loads(message)

    def ask(self, method, session=None, **parameters):
        self.count += 1
        message = {"id": self.count, "method": method, "params": parameters}
        if session:
            message["sessionId"] = session
        try:
            os.write(self.write, json.dumps(message).encode() + b"\0")
        except BrokenPipeError:
            raise SystemExit("screenshots.py: the browser has ended")
        while True:
            answer = self.receive()
            if answer.get("id") == self.count:
                if "error" in answer:
                    raise SystemExit(f"screenshots.py: {method}: {answer['error']['message']}")
                return answer["result"]
            self.events.append(answer)

    def wait_for(self, method):
        while not any(event.get("method") == method for event in self.events):
            self.events.append(self.receive())

    def close(self):
        self.ask("Browser.close")
        self.process.wait(timeout=30)
        self.profile.cleanup()


def faults_of(browser, session, page, width):
    """Opens a page in a window of this width and returns what does not look right."""
    browser.events.clear()
    browser.ask("Emulation.setDeviceMetricsOverride", session, width=width, height=1600, deviceScaleFactor=1, mobile=width < 800)
    browser.ask("Page.navigate", session, url=page.as_uri())
    browser.wait_for("Page.loadEventFired")
    faults = browser.ask("Runtime.evaluate", session, expression=JUDGE, awaitPromise=True, returnByValue=True)["result"]["value"]
    addresses = {}
    for event in browser.events:
        said = event.get("params", {})
        if event.get("method") == "Network.requestWillBeSent":
            addresses[said["requestId"]] = said["request"]["url"]
        elif event.get("method") == "Network.loadingFailed":
            address = addresses.get(said["requestId"], "")
            if not address.startswith("about:") and not said.get("canceled"):  # an empty frame is no file
                faults.append(f"did not load: {address}: {said['errorText']}")
        elif event.get("method") == "Runtime.exceptionThrown":
            faults.append(f"a script failed: {said['exceptionDetails'].get('exception', {}).get('description')}")
    return faults


def main():
    signal.alarm(600)  # a browser that hangs ends the program
    browser_program, html, out, *pictured = sys.argv[1:]
    html, out = pathlib.Path(html).resolve(), pathlib.Path(out)
    out.mkdir(parents=True, exist_ok=True)
    guide = sorted(page.name for page in html.glob("md_*.html"))
    browser = Browser(browser_program)
    target = browser.ask("Target.createTarget", url="about:blank")["targetId"]
    session = browser.ask("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
    for domain in ("Page", "Network", "Runtime"):
        browser.ask(f"{domain}.enable", session)
    bad = 0
    pages = dict.fromkeys(["index.html", *guide, *pictured])
    for page in pages:
        for width in WIDTHS:
            for fault in faults_of(browser, session, html / page, width):
                bad += 1
                print(f"{page}, {width} wide: {fault}", file=sys.stderr)
            if page in pictured:
                picture = browser.ask("Page.captureScreenshot", session)["data"]
                (out / f"{pathlib.Path(page).stem}-{width}.png").write_bytes(base64.b64decode(picture))
    browser.close()
    if bad:
        raise SystemExit(f"{bad} faults on {len(pages)} pages at the widths {WIDTHS}")
    print(f"{len(pages)} pages look right at the widths {WIDTHS[0]} and {WIDTHS[1]}; {2 * len(pictured)} pictures in {out}")


main()
