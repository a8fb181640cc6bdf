"""Passes notifications of Carryon on: to a chat, or by e-mail. One file, nothing but Python.

WEBHOOK_SECRET=whsec_... CHAT_URL=https://hooks.slack.com/... python relay.py --chat slack
WEBHOOK_SECRET=whsec_... python relay.py --mail ops@studio.example --smtp mail.studio.example:25
"""

import argparse
import base64
import hashlib
import hmac
import json
import os
import smtplib
import time
import urllib.request
from collections import OrderedDict
from email.message import EmailMessage
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

LARGEST = 65536


# docs/how-to/notifications.md shows this function.
def verify(headers, body, secret, tolerance=300):
    """The event that a request brings; ValueError unless it was signed with this secret, and just now."""
    sent = headers["webhook-timestamp"]
    if abs(time.time() - int(sent)) > tolerance:
        raise ValueError("too old, or from the future: somebody may be sending it again")
    key = base64.b64decode(secret.removeprefix("whsec_"))
    signed = b".".join((headers["webhook-id"].encode(), sent.encode(), body))
    expected = "v1," + base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()
    # While a secret is being changed there are two signatures.
    if not any(hmac.compare_digest(expected, each) for each in headers["webhook-signature"].split()):
        raise ValueError("the signature does not fit")
    return json.loads(body)


def sentence(event):
    """What to tell people."""
    data = event["data"]
    units = data.get("units") or {}
    told = f"{data['namespace']}/{data['name']}: {data['condition']}"
    if units.get("total"):
        told += f", {units['succeeded']} of {units['total']} done"
    if units.get("failed"):
        told += f", {units['failed']} failed"
    return told + (f" {data['url']}" if data.get("url") else "")


def chat_message(kind, text):
    """What this kind of chat takes as a message."""
    if kind == "discord":
        return {"content": text}
    if kind == "teams":
        card = {"type": "AdaptiveCard", "version": "1.4", "body": [{"type": "TextBlock", "text": text, "wrap": True}]}
        attachment = {"contentType": "application/vnd.microsoft.card.adaptive", "content": card}
        return {"type": "message", "attachments": [attachment]}
    return {"text": text}  # Slack, Mattermost, Rocket.Chat, Google Chat.


def to_chat(kind, url):
    """A way to tell a chat."""

    def tell(event):
        body = json.dumps(chat_message(kind, sentence(event))).encode()
        request = urllib.request.Request(url, body, {"Content-Type": "application/json"})
        urllib.request.urlopen(request, timeout=10).close()

    return tell


def to_mail(to, smtp):
    """A way to tell somebody by e-mail."""
    host, _, port = smtp.partition(":")

    def tell(event):
        mail = EmailMessage()
        mail["From"], mail["To"], mail["Subject"] = f"carryon@{host}", to, sentence(event)
        mail["Message-ID"] = f"<{event['id']}@carryon>"
        mail.set_content(json.dumps(event["data"], indent=2))
        with smtplib.SMTP(host, int(port or 25), timeout=10) as server:
            server.send_message(mail)

    return tell


def handler(secret, tell):
    """Answers of the relay: 204 only once it was passed on, so that Carryon repeats what was not."""
    passed_on = OrderedDict()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            try:
                event = verify(self.headers, self.rfile.read(min(int(self.headers["Content-Length"]), LARGEST)), secret)
            except (AttributeError, KeyError, TypeError, ValueError) as error:
                self.answer(401, error)
                return
            if event["id"] in passed_on:  # It may come more than once, and its id tells.
                self.answer(204)
                return
            try:
                tell(event)
            except (OSError, smtplib.SMTPException) as error:
                self.answer(502, error)
                return
            passed_on[event["id"]] = True
            if len(passed_on) > 1000:
                passed_on.popitem(last=False)
            self.answer(204)

        def answer(self, status, error=None):
            if error is not None:
                self.log_message("%d: %s", status, error)
            self.send_response(status)
            self.end_headers()

    return Handler


def main():
    """Listen until stopped."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--listen", default="0.0.0.0:8080", help="address and port; 0.0.0.0:8080")
    parser.add_argument("--chat", choices=["slack", "discord", "teams"], help="kind of chat that CHAT_URL leads to")
    parser.add_argument("--mail", help="address to write to")
    parser.add_argument("--smtp", default="localhost:25", help="mail server; localhost:25")
    given = parser.parse_args()
    if bool(given.chat) == bool(given.mail):
        parser.error("give one of --chat and --mail")
    tell = to_chat(given.chat, os.environ["CHAT_URL"]) if given.chat else to_mail(given.mail, given.smtp)
    host, _, port = given.listen.rpartition(":")
    ThreadingHTTPServer((host, int(port)), handler(os.environ["WEBHOOK_SECRET"], tell)).serve_forever()


if __name__ == "__main__":
    main()
