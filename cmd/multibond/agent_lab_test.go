//go:build lab

package main

import (
	"encoding/json"
	"net"
	"os"
	"os/exec"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/multibond/multibond/delegate/agentapi"
)

// agent stands for multibond-agent, which needs a cluster, until the script ends: "agent
// FILE". Every pod has the networks of the file, a list of attachments, beside its default
// network. Its socket is agent.sock.
func agent(ts *testscript.TestScript, neg bool, args []string) {
	l, err := net.Listen("unix", ts.MkAbs("agent.sock"))
	ts.Check(err)
	ts.Defer(func() { l.Close() })
	file := ts.MkAbs(args[0])
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			answer(conn, file)
			conn.Close()
		}
	}()
}

// answer answers one request. An error is the plugin's to report, which gets no answer.
func answer(conn net.Conn, file string) {
	var request agentapi.Request
	if agentapi.Read(conn, &request) != nil {
		return
	}
	reply := agentapi.Reply{Version: agentapi.Version}
	switch {
	case request.Lookup != nil:
		reply.Lookup = &agentapi.LookupReply{Pod: request.Lookup.Pod}
		text, err := os.ReadFile(file)
		if err != nil || json.Unmarshal(text, &reply.Lookup.Attachments) != nil {
			return
		}
	case request.Publish != nil:
		reply.Publish = &agentapi.PublishReply{}
	}
	_ = agentapi.Write(conn, reply)
}

// reboot gives the machine another boot id, until the script ends. Nothing else of it is
// new.
func reboot(ts *testscript.TestScript, neg bool, args []string) {
	const bootID = "/proc/sys/kernel/random/boot_id"
	uuid, err := os.ReadFile("/proc/sys/kernel/random/uuid")
	ts.Check(err)
	file := ts.MkAbs("boot_id")
	ts.Check(os.WriteFile(file, uuid, 0o644))
	ts.Check(ts.Exec("mount", "--bind", file, bootID))
	ts.Defer(func() { exec.Command("umount", bootID).Run() })
}
