"""An OAuth token endpoint: token_endpoint.py CERTIFICATES ASSERTION-KEY prints its port, and serves until it is killed.

Its tokens are those of the issuer in compat/certificates. A client gets one by its secret, by an assertion that it has signed, or
as a machine of Azure.

  /token      a good token
  /expired    a token that has ended
  /malformed  something else
"""

import base64
import json
import subprocess
import sys
import tempfile
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlparse

CERTIFICATES, ASSERTION_KEY = sys.argv[1:]
CLIENT = base64.b64encode(b'compat-client:compat-secret').decode()
# Of a token, in seconds. librdkafka logs in again after nine tenths of the session, which ends at the latest with the token, and asks
# for the next token after eight tenths of its time. A session of 4 s and a token of 6 s lead to two logins within one second, which
# the broker refuses, as Kafka does.
LIFETIME = 10
ASSERTED = {'grant_type': 'urn:ietf:params:oauth:grant-type:jwt-bearer', 'scope': 'compat'}
BY_SECRET = {'grant_type': 'client_credentials', 'scope': 'compat'}
OF_AZURE = {'__metadata_authentication_type': 'azure_imds', 'api-version': '2025-04-07',
            'resource': 'api://external_resource_id', 'client_id': 'client_id'}


def base64url(data):
    return base64.urlsafe_b64encode(data).rstrip(b'=').decode()


def openssl(*arguments, data):
    return subprocess.run(['openssl', 'dgst', '-sha256', *arguments], input=data, capture_output=True, check=False)


def token(lifetime):
    now = int(time.time())
    claims = {'iss': 'https://issuer.example', 'aud': 'compat', 'sub': 'alice', 'client_id': 'compat-client',
              'iat': now - 60, 'exp': now + lifetime}
    parts = [base64url(json.dumps(part).encode()) for part in ({'alg': 'RS256', 'kid': 'one'}, claims)]
    signature = openssl('-sign', f'{CERTIFICATES}/issuer-key.pem', data='.'.join(parts).encode()).stdout
    return '.'.join([*parts, base64url(signature)])


def is_signed(assertion):
    """Whether the client has signed it, with RS256, as a token that has not ended."""
    signed, _, signature = assertion.rpartition('.')
    with tempfile.NamedTemporaryFile() as file:
        file.write(base64.urlsafe_b64decode(signature + '=='))
        file.flush()
        checked = openssl('-prverify', ASSERTION_KEY, '-signature', file.name, data=signed.encode())
    header, claims = (json.loads(base64.urlsafe_b64decode(part + '==')) for part in signed.split('.'))
    return checked.returncode == 0 and header['alg'] == 'RS256' and claims['exp'] > time.time()


class Endpoint(BaseHTTPRequestHandler):
    def do_GET(self):
        self.answer(self.headers.get('Metadata') == 'true' and self.fields(urlparse(self.path).query) == OF_AZURE)

    def do_POST(self):
        fields = self.fields(self.rfile.read(int(self.headers['Content-Length'])).decode())
        assertion = fields.pop('assertion', None)
        if assertion:
            self.answer(fields == ASSERTED and is_signed(assertion))
        else:
            self.answer(fields == BY_SECRET and self.headers.get('Authorization') == f'Basic {CLIENT}')

    def fields(self, encoded):
        return {name: values[0] for name, values in parse_qs(encoded).items()}

    def answer(self, allowed):
        path = urlparse(self.path).path
        if path == '/malformed':
            status, answer = 200, {'access_token': 'this is no token'}
        elif allowed:
            status, answer = 200, {'token_type': 'Bearer', 'access_token': token(-60 if path == '/expired' else LIFETIME)}
        else:
            status, answer = 400, {'error': 'invalid_request', 'error_description': 'not what a client of this endpoint sends'}
        body = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header('Content-Type', 'application/json')
        self.send_header('Content-Length', str(len(body)))
        self.end_headers()
        self.wfile.write(body)


server = ThreadingHTTPServer(('127.0.0.1', 0), Endpoint)
print(server.server_port, flush=True)
server.serve_forever()
