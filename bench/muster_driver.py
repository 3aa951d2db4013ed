#!/usr/bin/env python3
"""Driver for Muster: lets the side-by-side harness measure it with the very code that measures its peers.

Every verb prints one JSON object (watch: one per line) and exits 0, or prints {"error": ...} and exits 1.
The harness is found by SWB_HOME (default: ../shared/bench beside the project). Each host runs one agent with
its data directory on the host's disk; the API is spoken directly over its unix socket, so the start of this
process is in no figure. Images come from a registry that runs in the switch's network namespace.

Every replica has a network namespace, a veth and computed addresses of its own, so `--net host`, `bridge` and
`overlay` all mean the same here: more than the host network of a peer, the like of its bridge.
"""
import argparse, http.client, json, os, random, shutil, socket, subprocess, sys, threading, time

PROJECT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(0, os.environ.get('SWB_HOME', os.path.join(os.path.dirname(PROJECT), 'shared', 'bench')))
import swblib as L

MUSTER = os.environ.get('MUSTER', f'{PROJECT}/dist/muster')
PORT = 7440
REGISTRY = f'{L.SW_IP}:5000'
CLUSTER = f'{L.RUN}/cluster.json'
LIMIT = float(os.environ.get('SWB_API_TIMEOUT', '30'))


class ApiError(RuntimeError):
    pass


class Conn(http.client.HTTPConnection):
    def __init__(self, path, timeout):
        super().__init__('muster', timeout=timeout)
        self.path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self.path)


def sock(i):
    return f'{L.STATE}/n{i}/muster.sock'


def api(i, method, path, body=None, timeout=None, headers=()):
    c = Conn(sock(i), timeout or LIMIT)
    h = {'Content-Type': 'application/json', 'Idempotency-Key': f'{os.getpid()}-{random.randrange(1 << 48):x}', **dict(headers)}
    c.request(method, path, json.dumps(body) if body is not None else None, h)
    r = c.getresponse()
    d = r.read()
    c.close()
    o = json.loads(d) if d else {}
    if r.status >= 400:
        raise ApiError(f'{r.status}: {(o.get("problem") or {}).get("message", o)}')
    return o


def cluster():
    return L.read_json(CLUSTER) or sys.exit('no cluster: run `up` first')


def via(a):
    if a.via:
        return a.via
    up = L.hosts()
    if not up:
        raise ApiError('no host is up')
    return up[0]


def hostno(name):
    return int(name[1:])


# ------------------------------------------------------------------ agents
def start_agent(i, extra=()):
    """Start the agent on host i; return (t_exec, t_api_answers)."""
    t = L.now()
    L.host_exec(i, [MUSTER, 'up', '--data-dir', f'{L.STATE}/n{i}', '--name', f'n{i}', '--listen', f'{L.ip_of(i)}:{PORT}',
                    '--plain-http-registry', REGISTRY, '--cgroup-parent', L.cgroup_parent(i), *extra], f'{L.RUN}/n{i}.log')
    end = t + 60
    while L.now() < end:
        try:
            api(i, 'GET', '/v1/status', timeout=2)
            return t, L.now()
        except (OSError, http.client.HTTPException, ApiError):
            time.sleep(0.002)
    raise RuntimeError(f'the agent on host {i} did not answer; see {L.RUN}/n{i}.log')


def start_registry():
    """A real registry on the switch, with the workload's two image versions pushed to it."""
    w = os.path.join(L.HERE, 'workload')
    if not os.path.exists(L.LOAD):
        L.sh(['gcc', '-O2', '-static', '-s', '-o', L.LOAD, w + '/swbload.c'])
    d = f'{L.ROOT}/registry'
    shutil.rmtree(d, ignore_errors=True)
    os.makedirs(d)
    with open(f'{d}/config.yml', 'w') as f:
        f.write(f'version: 0.1\nlog: {{level: error}}\nstorage: {{filesystem: {{rootdirectory: {d}/data}}}}\nhttp: {{addr: "{REGISTRY}"}}\n')
    p = subprocess.Popen(['nsenter', f'--net=/run/netns/{L.SW}', 'docker-registry', 'serve', f'{d}/config.yml'],
                         stdout=open(f'{L.RUN}/registry.log', 'ab'), stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, start_new_session=True)
    with open(f'{L.RUN}/registry.pid', 'w') as f:
        f.write(str(p.pid))
    for v in ('1', '2'):
        tar = f'{L.ROOT}/img{v}.tar'
        L.sh([sys.executable, w + '/mkimage.py', tar, f'swb/bb:{v}', v])
        for k in range(100):
            r = subprocess.run(['nsenter', f'--net=/run/netns/{L.SW}', 'skopeo', 'copy', '-q', '--insecure-policy', '--dest-tls-verify=false',
                                f'docker-archive:{tar}', f'docker://{REGISTRY}/swb/bb:{v}'], capture_output=True, text=True)
            if r.returncode == 0:
                break
            time.sleep(0.05)
        else:
            raise RuntimeError(f'push: {r.stderr}')


def stop_registry():
    try:
        os.kill(int(open(f'{L.RUN}/registry.pid').read()), 15)
    except (OSError, ValueError):
        pass


def states(i, timeout=None):
    return {hostno(n['name']): n['status'] for n in api(i, 'GET', '/v1/nodes', timeout=timeout)}


def wait_ready(i, want, timeout=60):
    end = L.now() + timeout
    last = None
    while L.now() < end:
        try:
            last = states(i, 5)
            if all(last.get(h) == 'alive' for h in want):
                return L.now()
        except (ApiError, OSError, http.client.HTTPException) as e:
            last = str(e)
        time.sleep(0.005)
    raise RuntimeError(f'not ready: {last}')


def up(a):
    n = a.n
    L.net_up()
    L.cg_make('bench')
    start_registry()
    t0 = L.now()
    for i in range(1, n + 1):
        L.host_up(i)
    t_hosts = L.now()
    st = {1: start_agent(1)}
    token = api(1, 'POST', '/v1/invites', {'ttlMs': 3_600_000})['token']
    ths = [threading.Thread(target=lambda i=i: st.__setitem__(i, start_agent(i, ['--join', f'{L.ip_of(1)}:{PORT}', '--invite', token])))
           for i in range(2, n + 1)]
    [t.start() for t in ths], [t.join() for t in ths]
    for i in range(1, n + 1):
        wait_ready(i, range(1, n + 1))
    t_ready = L.now()
    json.dump(dict(n=n, token=token), open(CLUSTER, 'w'))
    return dict(t0=t0, t_ready=t_ready, daemon_s={i: round(b - x, 3) for i, (x, b) in st.items()}, cluster_s=round(t_ready - t_hosts, 3))


def node_start(a):
    i = a.i
    if L.host_pid(i) and (a.fresh or os.path.exists(f'{L.RUN}/n{i}.crashed')):
        L.host_kill(i, 'poweroff')
    if os.path.exists(f'{L.RUN}/n{i}.crashed'):
        os.unlink(f'{L.RUN}/n{i}.crashed')
    if a.fresh:
        L.wipe(i)
    if not L.host_pid(i):
        L.host_up(i)
    t, t1 = start_agent(i)
    r = dict(t0=t, api_s=round(t1 - t, 4))
    if not a.fresh and not a.nowait:
        v = a.via or next((k for k in L.hosts() if k != i), i)
        r['ready_s'] = round(wait_ready(v, [i]) - t, 3)
    return r


def kill_node(a):
    t = L.host_kill(a.i, a.mode)
    if a.mode == 'crash':
        open(f'{L.RUN}/n{a.i}.crashed', 'w').close()
    return dict(t0=t, done=L.now())


def down(a):
    if os.path.isdir(L.RUN):
        stop_registry()
        for f in os.listdir(L.RUN):
            if f.startswith('n') and f.endswith('.pid'):
                L.host_down(int(f[1:-4]))
    L.net_down()
    L.wipe()
    shutil.rmtree(L.RUN, ignore_errors=True)
    return {}


# ------------------------------------------------------------------ deployments
def key(name):
    return f'/v1/deployments/default/{name}'


def spec_of(name, image, replicas, cmd=None, port=None, drain=0):
    command = cmd.split() if cmd else ['/bin/swbload', name] + (['-p', str(port)] if port else []) + (['-d', str(drain)] if drain else [])
    return dict(namespace='default', name=name, replicas=replicas,
                template=dict(labels={}, initContainers=[], restart='always', stopTimeoutMs=10_000, containers=[dict(
                    name='main', image=f'{REGISTRY}/{image}', pull='missing', command=command, env={},
                    resources=dict(cpuMillis=0, memoryBytes=0, pids=4096, ephemeralBytes=0),
                    ports=[dict(container=port, protocol='tcp')] if port else [], probes={}, capabilities=dict(add=[], drop=[]),
                    readOnlyRoot=False, allowNewPrivileges=False, userNamespace=False, mounts=[], files=[],
                    logs=dict(fileBytes=10 << 20, files=3))]))


def deploy(a):
    v = via(a)
    s = spec_of(a.name, a.image, a.replicas, a.cmd, a.port, a.drain)
    t = L.now()
    r = api(v, 'PUT', key(a.name), s, headers={'If-None-Match': '*'})
    return dict(t0=t, t1=L.now(), id=r['deployment'])


def cli_deploy(a):
    v = via(a)
    t = L.now()
    subprocess.run([MUSTER, 'run', f'{REGISTRY}/{a.image}', '--name', a.name, '--replicas', str(a.replicas), '--', '/bin/swbload', a.name],
                   check=True, stdout=subprocess.DEVNULL, env=dict(os.environ, MUSTER_SOCKET=sock(v)))
    return dict(t0=t, t1=L.now())


def scale(a):
    t = L.now()
    api(via(a), 'PUT', key(a.name) + '/scale', dict(replicas=a.n))
    return dict(t0=t, t1=L.now())


def update(a):
    v = via(a)
    s = api(v, 'GET', key(a.name))['spec']
    s['template']['containers'][0]['image'] = f'{REGISTRY}/{a.image}'
    t = L.now()
    api(v, 'PUT', key(a.name), s)
    return dict(t0=t, t1=L.now())


def update_state(a):
    d = api(via(a), 'GET', key(a.name))
    new = [r for r in d['replicas'] if r['templateHash'] == d['templateHash'] and r['phase'] == 'running']
    done = len(new) == d['desired'] and len(d['replicas']) == d['desired']
    return dict(state='completed' if done else 'updating')


def running(a):
    d = api(via(a), 'GET', key(a.name))
    return dict(running=d['running'], desired=d['desired'])


def wait(a):
    v, end = via(a), L.now() + a.timeout
    while L.now() < end:
        if api(v, 'GET', key(a.name))['running'] == a.n:
            return dict(t=L.now())
        time.sleep(a.interval)
    raise ApiError('timeout')


def rm(a):
    t = L.now()
    api(via(a), 'DELETE', key(a.name))
    return dict(t0=t, t1=L.now())


def leader(a):
    """The steward's host of the newest deployment: whoever leads what is being measured."""
    v = via(a)
    names = {n['id']: hostno(n['name']) for n in api(v, 'GET', '/v1/nodes')}
    stewards = [(d['replicas'][0]['sinceMs'] if d['replicas'] else 0, names.get(d.get('steward'))) for d in api(v, 'GET', '/v1/deployments')]
    return dict(leader=max(stewards, default=(0, None))[1])


def watch(a):
    """One line per tick: can a write be committed, what do the nodes look like? (through one host)"""
    v, k = via(a), 0
    deployments = [d for d in api(v, 'GET', '/v1/deployments') if d['status'] == 'active']
    newest = max(deployments, key=lambda d: d['replicas'][0]['sinceMs'] if d['replicas'] else 0)
    name, n = newest['name'], newest['desired']
    while True:
        t = L.now()
        r = dict(t=t)
        try:                                             # the same count again: a committed entry that changes nothing that runs
            api(v, 'PUT', key(name) + '/scale', dict(replicas=n), timeout=4)
            r['write'] = True
        except Exception as e:
            r.update(write=False, error=str(e)[:200])
        r['write_ms'] = round((L.now() - t) * 1e3, 1)
        try:
            r['nodes'] = {h: [{'dead': 'down'}.get(s, s)] for h, s in states(v, 2).items()}
        except Exception as e:
            r['nodes_error'] = str(e)[:200]
        r['done'] = L.now()
        print(json.dumps(r), flush=True)
        k += 1
        time.sleep(max(0, t + a.interval - L.now()))


def raw(a):
    t = L.now()
    try:
        r = subprocess.run([MUSTER] + a.args, capture_output=True, text=True, timeout=a.limit, env=dict(os.environ, MUSTER_SOCKET=sock(a.i)))
        return dict(rc=r.returncode, out=r.stdout.strip()[-1500:], err=r.stderr.strip()[-1500:], s=round(L.now() - t, 2))
    except subprocess.TimeoutExpired:
        return dict(rc=None, out='', err=f'no answer in {a.limit} s', s=round(L.now() - t, 2))


def mem(a):
    return {str(i): L.host_mem(i) for i in L.hosts()}


def groups(a):
    return dict(core=['muster'], per_task=['conmon'])


def unsupported(a):
    raise ApiError('not part of Muster yet')


def main():
    p = argparse.ArgumentParser()
    p.add_argument('--via', type=int)
    s = p.add_subparsers(dest='verb', required=True)

    def verb(name, f, *args):
        x = s.add_parser(name)
        for n, kw in args:
            x.add_argument(n, **kw)
        x.set_defaults(f=f)
    I = ('i', dict(type=int))
    NAME = ('name', {})
    DEP = [NAME, ('image', {}), ('replicas', dict(type=int)), ('--net', dict(default='host')), ('--port', dict(type=int)),
           ('--drain', dict(type=int, default=0)), ('--cmd', {})]
    verb('up', up, ('n', dict(type=int)))
    verb('down', down)
    verb('node-start', node_start, I, ('--fresh', dict(action='store_true')), ('--nowait', dict(action='store_true')))
    verb('kill-node', kill_node, I, ('--mode', dict(default='poweroff')))
    verb('deploy', deploy, *DEP)
    verb('cli-deploy', cli_deploy, *DEP)
    verb('scale', scale, NAME, ('n', dict(type=int)))
    verb('update', update, NAME, ('image', {}), ('--parallelism', dict(type=int, default=1)), ('--order', dict(default='stop-first')))
    verb('update-state', update_state, NAME)
    verb('running', running, NAME)
    verb('wait', wait, NAME, ('n', dict(type=int)), ('--timeout', dict(type=float, default=120)), ('--interval', dict(type=float, default=0.05)))
    verb('endpoints', unsupported, NAME, ('--watch', dict(type=float)))
    verb('client-netns', unsupported, I)
    verb('quorum-commands', unsupported, I)
    verb('rm', rm, NAME)
    verb('leader', leader)
    verb('watch', watch, ('--interval', dict(type=float, default=0.1)))
    verb('mem', mem)
    verb('groups', groups)
    verb('raw', raw, I, ('--limit', dict(type=float, default=60)), ('args', dict(nargs=argparse.REMAINDER)))
    a = p.parse_args()
    try:
        print(json.dumps(a.f(a)), flush=True)
    except (ApiError, OSError, http.client.HTTPException, RuntimeError) as e:
        print(json.dumps(dict(error=str(e), t=L.now())), flush=True)
        sys.exit(1)


if __name__ == '__main__':
    try:
        main()
    except (KeyboardInterrupt, BrokenPipeError):
        pass
