package main

import (
	"errors"
	"net"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/multibond/multibond/delegate/agentapi"
)

const agentSocket = "/run/multibond/agent.sock"

// agent stands for multibond-agent, which needs a cluster: it says that every pod
// has a bond beside its default network, and takes what is published. It can be
// killed and started as that one can.
type agent struct {
	mutex sync.Mutex
	open  map[net.Conn]bool
	l     net.Listener
	sees  bool // it was given a socket of events, of which it makes no use
}

func startAgent() (*agent, error) {
	a := &agent{}
	return a, a.start()
}

func (a *agent) start() error {
	a.mutex.Lock()
	defer a.mutex.Unlock()
	err := os.MkdirAll(filepath.Dir(agentSocket), 0o700)
	if err := errors.Join(err, os.RemoveAll(agentSocket)); err != nil {
		return err
	}
	l, err := net.Listen("unix", agentSocket)
	if err != nil {
		return err
	}
	l.(*net.UnixListener).SetUnlinkOnClose(false)
	a.l, a.open, a.sees = l, map[net.Conn]bool{}, false
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			a.mutex.Lock()
			a.open[conn] = true
			a.mutex.Unlock()
			go a.answer(conn)
		}
	}()
	return nil
}

// kill ends the agent at once, with everything that it has been asked, and starts
// it again after a while.
func (a *agent) kill() {
	a.mutex.Lock()
	a.l.Close()
	for conn := range a.open {
		conn.Close()
	}
	a.mutex.Unlock()
	time.Sleep(300 * time.Millisecond)
	_ = a.start() // whose absence is another fault
}

// answer answers one request, unless the agent is killed before.
func (a *agent) answer(conn net.Conn) {
	defer func() {
		a.mutex.Lock()
		defer a.mutex.Unlock()
		delete(a.open, conn)
		conn.Close()
	}()
	from := agentapi.FileReader{Conn: conn.(*net.UnixConn)}
	defer from.Close()
	var request agentapi.Request
	if agentapi.Read(&from, &request) != nil {
		return
	}
	a.mutex.Lock()
	a.sees = a.sees || request.Watch != nil
	reply := agentapi.Reply{Version: agentapi.Version, Blind: !a.sees}
	a.mutex.Unlock()
	switch {
	case request.Lookup != nil:
		reply.Lookup = &agentapi.LookupReply{Pod: request.Lookup.Pod, Attachments: []agentapi.Attachment{
			{Name: "default/net", IfName: bondName, Bond: true, Config: bondConfig()},
		}}
	case request.Publish != nil:
		reply.Publish = &agentapi.PublishReply{}
	}
	_ = agentapi.Write(conn, reply) // it may have hung up
}
