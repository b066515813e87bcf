package main

import (
	"context"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/multibond/multibond/delegate/agentapi"
)

// AgentFigures describes one agent on a node with Pods pods, in a cluster with
// NADs NADs. Bytes are what it reads from all its connections and files.
type AgentFigures struct {
	Pods          int            `json:"pods"`
	NADs          int            `json:"nads"`
	ReadyMS       float64        `json:"readyMS"` // from its start, with empty caches
	StartBytes    int            `json:"startBytes"`
	StartRequests map[string]int `json:"startRequests"`

	IdleSeconds    float64 `json:"idleSeconds"`
	IdleKiB        int     `json:"idleKiB"`
	IdleCPUPercent float64 `json:"idleCPUPercent"` // of one processor
	IdleBytes      int     `json:"idleBytes"`

	LoadKiB      int            `json:"loadKiB"`      // the maximum, while all pods are attached at once
	LoadCPUMS    float64        `json:"loadCPUMS"`    // for each ADD and DEL
	LoadRequests map[string]int `json:"loadRequests"` // of all ADDs and DELs
}

// agentFigures starts a separate agent, leaves it idle for a while, then attaches
// and detaches every pod through it.
func (r *Report) agentFigures(ctx context.Context, m *machine) error {
	const pods, idle = 110, 30 * time.Second
	uids, err := m.addPods(ctx, burstPods(pods))
	if err != nil {
		return err
	}
	f := AgentFigures{Pods: pods, NADs: m.nads, IdleSeconds: idle.Seconds()}
	began := time.Now()
	const dir = agentDir + "/measured"
	agent, err := m.startAgent("multibond-agent", dir)
	if err != nil {
		return err
	}
	client := agentapi.Client{Socket: dir + "/agent.sock", Timeout: time.Second}
	for client.Ready(ctx) != nil && ctx.Err() == nil {
		time.Sleep(time.Millisecond)
	}
	f.ReadyMS = ms(time.Since(began))
	pid := agent.cmd.Process.Pid
	f.StartBytes = readBytes(pid)
	time.Sleep(time.Second) // the audit log lags behind
	if f.StartRequests, err = m.requests(began); err != nil {
		return err
	}
	cpu, bytes := cpuTime(pid), readBytes(pid)
	select {
	case <-time.After(idle):
	case <-ctx.Done():
		return ctx.Err()
	}
	f.IdleCPUPercent, f.IdleBytes = 100*(cpuTime(pid)-cpu).Seconds()/idle.Seconds(), readBytes(pid)-bytes
	f.IdleKiB, _ = rss(pid)

	began, cpu = time.Now(), cpuTime(pid)
	if _, _, err := burst(ctx, m, multibond(dir), pods, uids); err != nil {
		return err
	}
	time.Sleep(2 * time.Second) // events and the audit log lag behind
	_, f.LoadKiB = rss(pid)
	f.LoadCPUMS = ms(cpuTime(pid)-cpu) / pods
	if f.LoadRequests, err = m.requests(began); err != nil {
		return err
	}
	r.Agent = &f
	fmt.Printf("agent, %d pods, %d NADs: ready in %.0f ms with %d KiB read; idle %d KiB, %.2f %% of a processor, %d bytes in %.0f s; under load at most %d KiB, %.1f ms of processor for a pod; requests %v, then %v\n",
		f.Pods, f.NADs, f.ReadyMS, f.StartBytes>>10, f.IdleKiB, f.IdleCPUPercent, f.IdleBytes, f.IdleSeconds, f.LoadKiB, f.LoadCPUMS, f.StartRequests, f.LoadRequests)
	return nil
}

// requests counts the requests of agents to the API server since a time, by verb
// and resource.
func (m *machine) requests(since time.Time) (map[string]int, error) {
	all, err := m.cluster.Requests("admin", since)
	counts := map[string]int{}
	for _, one := range all {
		if strings.HasPrefix(one.UserAgent, "multibond-agent") {
			counts[strings.TrimRight(one.Verb+" "+one.ObjectRef.Resource+"/"+one.ObjectRef.Subresource, "/")]++
		}
	}
	return counts, err
}

// cpuTime returns the processor time that a process has used (proc(5), stat).
func cpuTime(pid int) time.Duration {
	const tick = 10 * time.Millisecond // on every Linux that Go runs on
	text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	fields := strings.Fields(string(text[strings.LastIndexByte(string(text), ')')+1:]))
	var user, system int
	fmt.Sscan(fields[11], &user)
	fmt.Sscan(fields[12], &system)
	return time.Duration(user+system) * tick
}

// readBytes returns how many bytes a process has read so far (proc(5), io).
func readBytes(pid int) (n int) {
	text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/io", pid))
	fmt.Sscanf(string(text), "rchar: %d", &n)
	return n
}
