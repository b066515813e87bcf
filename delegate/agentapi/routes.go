package agentapi

import (
	"context"
	"fmt"
	"slices"
)

// Routes says how the routes to the pods of other hosts are, which keep sets.
type Routes struct {
	Set      int      `json:"set"`
	Waiting  int      `json:"waiting,omitempty"`  // something that they need is not there
	Failed   int      `json:"failed,omitempty"`   // they cannot be set
	Problems []string `json:"problems,omitempty"` // why, at most maxProblems
}

// maxProblems is how many problems are named.
const maxProblems = 8

// String returns how many there are.
func (r Routes) String() string {
	return fmt.Sprintf("routes to other hosts: %d are set, %d wait, %d cannot be set", r.Set, r.Waiting, r.Failed)
}

// Equal reports whether nothing is different.
func (r Routes) Equal(other Routes) bool {
	same := r.Set == other.Set && r.Waiting == other.Waiting && r.Failed == other.Failed
	return same && slices.Equal(r.Problems, other.Problems)
}

// Wait counts a route to a host that waits for something.
func (r *Routes) Wait(host string, why error) {
	r.Waiting++
	r.add(host, why)
}

// Fail counts a route to a host that cannot be set.
func (r *Routes) Fail(host string, why error) {
	r.Failed++
	r.add(host, why)
}

func (r *Routes) add(host string, why error) {
	text := why.Error()
	if host != "" {
		text = host + ": " + text
	}
	if len(r.Problems) < maxProblems {
		r.Problems = append(r.Problems, text)
	}
}

// TellRoutes tells the agent how the routes are. Agents of earlier releases ignore it.
func (c Client) TellRoutes(ctx context.Context, r Routes) error {
	_, err := c.ask(ctx, Request{Routes: &r})
	return err
}
