// agent stands for multibond-agent, which needs a cluster: agent SOCKET FILE. It gives each
// pod the networks of a file, a list of attachments.
package main

import (
	"encoding/json"
	"log"
	"net"
	"os"

	"github.com/multibond/multibond/delegate/agentapi"
)

func main() {
	networks, err := os.ReadFile(os.Args[2])
	if err != nil {
		log.Fatal(err)
	}
	l, err := net.Listen("unix", os.Args[1])
	for err == nil {
		var conn net.Conn
		if conn, err = l.Accept(); err == nil {
			answer(conn, networks)
		}
	}
	log.Fatal(err)
}

// answer answers one request. An error is the plugin's to report, which gets no answer.
func answer(conn net.Conn, networks []byte) {
	defer conn.Close()
	var request agentapi.Request
	if agentapi.Read(conn, &request) != nil {
		return
	}
	reply := agentapi.Reply{Version: agentapi.Version}
	switch {
	case request.Lookup != nil:
		reply.Lookup = &agentapi.LookupReply{Pod: request.Lookup.Pod}
		if err := json.Unmarshal(networks, &reply.Lookup.Attachments); err != nil {
			log.Fatal(err)
		}
	case request.Publish != nil:
		reply.Publish = &agentapi.PublishReply{}
	}
	_ = agentapi.Write(conn, reply) // it may have hung up
}
