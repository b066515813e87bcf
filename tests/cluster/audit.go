package cluster

import (
	"bufio"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"time"
)

// auditPolicy has every request once, when it was answered.
const auditPolicy = `apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived, ResponseStarted]
rules: [{level: Metadata}]
`

// Request is one that the API server has answered.
type Request struct {
	Verb      string
	User      struct{ Username string }
	UserAgent string
	ObjectRef struct{ Resource, Subresource, Namespace, Name string }
	Status    struct {
		Code int `json:"code"`
	} `json:"responseStatus"`
	Time time.Time `json:"requestReceivedTimestamp"`
}

func (c *Cluster) auditLog() string { return filepath.Join(c.dir, "audit.log") }

// Requests are those that a user has made since a point in time, in the order
// in which they were answered.
func (c *Cluster) Requests(user string, since time.Time) (out []Request, err error) {
	file, err := os.Open(c.auditLog())
	if err != nil {
		return nil, err
	}
	defer file.Close()
	lines := bufio.NewScanner(file)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var r Request
		if err := json.Unmarshal(lines.Bytes(), &r); err != nil {
			return nil, errors.Join(errors.New("audit log"), err)
		}
		if r.User.Username == user && r.Time.After(since) {
			out = append(out, r)
		}
	}
	return out, lines.Err()
}
