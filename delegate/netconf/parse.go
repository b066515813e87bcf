package netconf

import (
	"encoding/json"
	"errors"

	"github.com/containernetworking/cni/pkg/types"

	"github.com/multibond/multibond/bond/code"
	"github.com/multibond/multibond/delegate/cnierror"
)

// Parsed is what a runtime has configured: one bond network, or the cluster. The other
// one is nil.
type Parsed struct {
	Network *Network
	Cluster *Cluster
}

// Parse reads the configuration of a bond network like ParseNetwork, or that of the
// cluster like ParseCluster. If something in it is wrong, what could be read is returned
// with the error.
func Parse(raw []byte, bondName string) (Parsed, error) {
	fields, err := decodeTop(raw)
	if err != nil {
		return Parsed{}, err
	}
	switch {
	case isNetwork(fields):
		n, err := readNetwork(raw, fields, bondName)
		return Parsed{Network: &n}, err
	case isCluster(fields):
		c, err := readCluster(fields)
		return Parsed{Cluster: &c}, err
	}
	return Parsed{}, cnierror.With(types.ErrInvalidNetworkConfig, code.With(code.NeitherKind, errors.New("the configuration has neither links (for a bond network) nor defaultNetwork, clusterNetwork or delegates (for the cluster's configuration)")))
}

func isNetwork(fields map[string]json.RawMessage) bool {
	_, is := fields["links"]
	return is
}

func isCluster(fields map[string]json.RawMessage) bool {
	for _, key := range defaultKeys {
		if _, is := fields[key]; is {
			return true
		}
	}
	return false
}
