package bond

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/multibond/multibond/bond/code"
)

func rawOptions(t *testing.T, text string) map[string]json.RawMessage {
	t.Helper()
	var raw map[string]json.RawMessage
	require.NoError(t, json.Unmarshal([]byte(text), &raw), text)
	return raw
}

// lines prints each problem as an error.
func lines(p Problems) []string {
	var out []string
	for _, one := range p {
		out = append(out, one.Error())
	}
	return out
}

func TestParseOptionsDefaults(t *testing.T) {
	for _, c := range []struct {
		raw  string
		want Options
	}{
		{`{}`, Options{Mode: ActiveBackup, numGratArp: "5", Primary: "net1", Miimon: "100", FailOverMac: "active"}},
		{`{"mode":"balance-xor"}`, Options{Mode: BalanceXOR, Miimon: "100"}},
		{`{"mode":4,"miimon":"50"}`, Options{Mode: LACP, Miimon: "50"}},
		{`{"mac":"02:00:00:00:00:01"}`, Options{Mode: ActiveBackup, numGratArp: "5", Primary: "net1", Miimon: "100", MAC: "02:00:00:00:00:01"}},
		{`{"mac":"02:00:00:00:00:01","macPolicy":"shared"}`, Options{Mode: ActiveBackup, numGratArp: "5", Primary: "net1", Miimon: "100", MAC: "02:00:00:00:00:01", MACPolicy: Shared, FailOverMac: "active"}},
		{`{"failOverMac":0}`, Options{Mode: ActiveBackup, numGratArp: "5", Primary: "net1", Miimon: "100", FailOverMac: "none"}},
		{`{"arpInterval":200,"arpIpTarget":"10.0.0.1"}`,
			Options{Mode: ActiveBackup, numGratArp: "5", Primary: "net1", arpInterval: "200", arpIPTarget: "10.0.0.1", FailOverMac: "active"}},
		{`{"arpIpTarget":"gateway"}`,
			Options{Mode: ActiveBackup, numGratArp: "5", Primary: "net1", Miimon: "100", arpInterval: "1000", arpIPTarget: "gateway", FailOverMac: "active"}},
		{`{"nsIp6Target":"gateway","arpIpTarget":"10.0.0.1","arpInterval":200,"miimon":50}`,
			Options{Mode: ActiveBackup, numGratArp: "5", Primary: "net1", Miimon: "50", arpInterval: "200", arpIPTarget: "10.0.0.1", nsIP6Target: "gateway", FailOverMac: "active"}},
		{`{"miimon":0,"arpInterval":200,"arpIpTarget":"10.0.0.1","arpValidate":"all"}`,
			Options{Mode: ActiveBackup, numGratArp: "5", Primary: "net1", Miimon: "0", arpInterval: "200", arpIPTarget: "10.0.0.1", arpValidate: "all", FailOverMac: "active"}},
		{`{"primary":"net2","mtu":9000,"somethingElse":[1,2]}`,
			Options{Mode: ActiveBackup, numGratArp: "5", Miimon: "100", FailOverMac: "active", Primary: "net2", MTU: "9000"}},
		{`{"mode":"balance-tlb","primaryReselect":"failure"}`, Options{Mode: BalanceTLB, Miimon: "100", Primary: "net1", reselect: "failure"}},
		{`{"mode":"balance-alb"}`, Options{Mode: BalanceALB, Miimon: "100", Primary: "net1"}},
		{`{"primary":"none"}`, Options{Mode: ActiveBackup, numGratArp: "5", Miimon: "100", FailOverMac: "active"}},
		{`{"primary":""}`, Options{Mode: ActiveBackup, numGratArp: "5", Miimon: "100", FailOverMac: "active"}},
		{`{"activeSlave":"net2"}`, Options{Mode: ActiveBackup, numGratArp: "5", Miimon: "100", FailOverMac: "active", activeSlave: "net2"}},
		{`{"minLinks":"1"}`, Options{Mode: ActiveBackup, numGratArp: "5", Primary: "net1", Miimon: "100", FailOverMac: "active", MinLinks: "1"}},
		{`{"mode":"802.3ad","minLinks":2}`, Options{Mode: LACP, Miimon: "100", MinLinks: "2"}},
		{`{"numUnsolNa":3}`, Options{Mode: ActiveBackup, Primary: "net1", Miimon: "100", FailOverMac: "active", numGratArp: "3"}},
		{`{"updelay":200,"downdelay":"300"}`,
			Options{Mode: ActiveBackup, numGratArp: "5", Primary: "net1", Miimon: "100", FailOverMac: "active", updelay: "200", downdelay: "300"}},
	} {
		got, problems := ParseOptions(rawOptions(t, c.raw), []string{"net1", "net2"}, nil)
		require.NoError(t, problems.Err(), c.raw)
		assert.Equal(t, c.want, got, c.raw)
	}
}

func TestParseOptionsProblems(t *testing.T) {
	const never = "is 0, and there are no ARP targets: the bond would never notice a dead link (set miimon, usually to 100, or set arpInterval and arpIpTarget)"
	for _, c := range []struct {
		raw  string
		want []string
	}{
		{`{"miimon":0}`, []string{"miimon: " + never}},
		{`{"miimon":0,"arpInterval":0}`, []string{"miimon: " + never}},
		{`{"miimon":100,"arpInterval":200,"arpIpTarget":"10.0.0.1"}`,
			[]string{"arpInterval: is 200 ms, but miimon is 100 ms (the kernel accepts only one of the two; leave miimon out to use ARP)"}},
		{`{"miimon":100,"arpInterval":200}`, []string{
			"arpInterval: is 200 ms, but miimon is 100 ms (the kernel accepts only one of the two; leave miimon out to use ARP)",
			"arpInterval: is 200, which has no effect without arpIpTarget"}},
		{`{"arpInterval":200}`, []string{"arpInterval: is 200, which has no effect without arpIpTarget"}},
		{`{"arpIpTarget":"10.0.0.1"}`, []string{"arpIpTarget: is 10.0.0.1, which has no effect without arpInterval"}},
		{`{"miimon":0,"arpIpTarget":"10.0.0.1"}`, []string{"arpIpTarget: is 10.0.0.1, which has no effect without arpInterval"}},
		{`{"arpValidate":"active"}`, []string{"arpValidate: is active, which has no effect without arpInterval"}},
		{`{"arpValidate":"none"}`, nil},
		{`{"updelay":150}`, []string{"updelay: is 150 ms, want a multiple of miimon (100 ms) (100 or 200)"}},
		{`{"downdelay":50}`, []string{"downdelay: is 50 ms, want a multiple of miimon (100 ms) (0 or 100)"}},
		{`{"updelay":0,"downdelay":200}`, nil},
		{`{"numGratArp":3,"peerNotifDelay":250}`, []string{"peerNotifDelay: is 250 ms, want a multiple of miimon (100 ms) (200 or 300)"}},
		{`{"numGratArp":3,"numUnsolNa":"3"}`, nil},
		{`{"numGratArp":3,"numUnsolNa":4}`, []string{"numUnsolNa: is 4, but numGratArp is 3 (both keys are the same option: use one of them)"}},
		{`{"minLinks":-1}`, []string{"minLinks: is -1, want at least 0 links"}},
		{`{"mode":"802.3ad","minLinks":"many"}`, []string{`minLinks: is "many", want at least 0 links`}},
		{`{"vlan":4095}`, []string{"vlan: is 4095, want 0 to 4094"}},
		{`{"vlan":"0"}`, nil},
		{`{"numUnsolNa":256}`, []string{"numUnsolNa: is 256, want 0 to 255"}},
		{`{"arpInterval":200,"nsIp6Target":"fd00::1","arpValidate":"all","arpAllTargets":"all"}`, nil},
		{`{"arpInterval":200,"arpIpTarget":"10.0.0.1","nsIp6Target":["fd00::1"]}`, nil},
		{`{"nsIp6Target":"fd00::1"}`, []string{"nsIp6Target: is fd00::1, which has no effect without arpInterval"}},
		{`{"arpInterval":200,"arpIpTarget":"10.0.0.1","arpValidate":"none","arpAllTargets":"all"}`,
			[]string{"arpAllTargets: is all, which has no effect without arpValidate"}},
		{`{"arpIpTarget":"gateway","arpInterval":0}`, []string{"arpIpTarget: is gateway, which has no effect without arpInterval"}},
		{`{"arpIpTarget":"gateway","mode":"802.3ad"}`, []string{
			"arpInterval: is 1000, but mode 802.3ad does not have this option; these modes do: balance-rr, active-backup, balance-xor, broadcast",
			"arpIpTarget: is gateway, but mode 802.3ad does not have this option; these modes do: balance-rr, active-backup, balance-xor, broadcast"}},
		{`{"arpIpTarget":"gateway","miimon":0}`, []string{"miimon: is 0, but a bond whose gateway does not answer needs it (leave miimon out)"}},
		{`{"arpIpTarget":["gateway"]}`, []string{`arpIpTarget: has "gateway", want 1 to 16 IPv4 addresses, or gateway`}},
		{`{"arpMissedMax":3}`, []string{"arpMissedMax: is 3, which has no effect without arpInterval"}},
		{`{"mode":"balance-rr","lacpRate":"fast"}`, []string{"lacpRate: is fast, but mode balance-rr does not have this option; these modes do: 802.3ad"}},
		{`{"mode":"802.3ad","lacpRate":1,"adSelect":"count","adActorSysPrio":1,"adActorSystem":"02:00:00:00:00:01","adUserPortKey":7,"coupledControl":0,"lacpActive":0,"minLinks":1}`, nil},
		{`{"arpInterval":200,"arpIpTarget":"10.0.0.1","updelay":100}`, []string{"updelay: is 100, which has no effect without miimon"}},
		{`{"mac":"02:00:00:00:00:01","failOverMac":"active"}`,
			[]string{"mac: is 02:00:00:00:00:01, but with failOverMac active the kernel replaces it with the active link's MAC (leave mac out, or set macPolicy to shared)"}},
		{`{"mac":"02:00:00:00:00:01","failOverMac":"active","macPolicy":"own"}`,
			[]string{"mac: is 02:00:00:00:00:01, but with failOverMac active the kernel replaces it with the active link's MAC (leave mac out, or set macPolicy to shared)"}},
		{`{"mac":"02:00:00:00:00:01","failOverMac":"active","macPolicy":"shared"}`, nil},
		{`{"macPolicy":"shared","failOverMac":"none"}`, []string{"macPolicy: is shared, which needs failOverMac active, but failOverMac is none (leave failOverMac out)"}},
		{`{"macPolicy":"shared","mode":"balance-tlb"}`, []string{"macPolicy: is shared, but mode balance-tlb does not have this option; these modes do: active-backup"}},
		{`{"macPolicy":"own","mode":"balance-tlb"}`, nil},
		{`{"macPolicy":"both"}`, []string{`macPolicy: is "both", want one of own, shared`}},
		{`{"mac":"02:00:00:00:00:01","failOverMac":"follow"}`, nil},
		{`{"mac":"02:00:00:00:00:01","mode":"balance-rr"}`, nil},
		{`{"activeSlave":"net3"}`, []string{"activeSlave: is net3, want one of the links net1, net2"}},
		{`{"activeSlave":"net2","mode":"802.3ad"}`, []string{"activeSlave: is net2, but mode 802.3ad does not have this option; these modes do: active-backup, balance-tlb, balance-alb"}},
		{`{"activeSlave":"net2","primary":"net1"}`, []string{"activeSlave: is net2, but primary net1 takes over as soon as it has a carrier (leave one of the two out, or set primaryReselect to failure)"}},
		{`{"activeSlave":"net2","primary":"net1","primaryReselect":"failure"}`, nil},
		{`{"activeSlave":"net2","primary":"net2"}`, nil},
		{`{"primary":"none","primaryReselect":"failure"}`, []string{"primaryReselect: is failure, which has no effect without primary"}},
		{`{"primary":"net3"}`, []string{"primary: is net3, want one of the links net1, net2"}},
		{`{"mode":"balance-rr","failOverMac":"none","tlbDynamicLb":1,"xmitHashPolicy":"layer2","arpValidate":"none"}`, nil},
		{`{"mode":"balance-rr","failOverMac":"active"}`,
			[]string{"failOverMac: is active, but mode balance-rr does not have this option; these modes do: active-backup"}},

		// Values that cannot be read are reported alone: the checks need them.
		{`{"mode":"bonded","miimon":-1,"mtu":"big","primary":"net3"}`, []string{
			`mode: is "bonded", want one of balance-rr, active-backup, balance-xor, broadcast, 802.3ad, balance-tlb, balance-alb`,
			`mtu: is "big", want 68 to 65535 bytes`,
			`miimon: is -1, want at least 0 ms`}},
		{`{"mode":"802.3ad","failOverMac":"follow","primary":"x","arpInterval":100,"miimon":40,"updelay":50,"arpValidate":"filter"}`, []string{
			"failOverMac: is follow, but mode 802.3ad does not have this option; these modes do: active-backup",
			"primary: is x, but mode 802.3ad does not have this option; these modes do: active-backup, balance-tlb, balance-alb",
			"arpInterval: is 100, but mode 802.3ad does not have this option; these modes do: balance-rr, active-backup, balance-xor, broadcast",
			"arpValidate: is filter, but mode 802.3ad does not have this option; these modes do: balance-rr, active-backup, balance-xor, broadcast",
			"arpInterval: is 100 ms, but miimon is 40 ms (the kernel accepts only one of the two; leave miimon out to use ARP)",
			"arpInterval: is 100, which has no effect without arpIpTarget",
			"updelay: is 50 ms, want a multiple of miimon (40 ms) (40 or 80)",
			"primary: is x, want one of the links net1, net2"}},
	} {
		_, problems := ParseOptions(rawOptions(t, c.raw), []string{"net1", "net2"}, nil)
		assert.Equal(t, c.want, lines(problems), c.raw)
	}
}

// TestModes gives each option to each mode. A mode that lacks the option refuses
// it, except minLinks and the value that the kernel has there anyway.
func TestModes(t *testing.T) {
	for _, row := range table {
		for _, mode := range modeNames {
			for _, text := range samples(t, row) {
				if row.key == Mode {
					continue
				}
				var want, got Problems
				if len(row.modes) > 0 && !slices.Contains(row.modes, mode) && text != row.unset && row.key != MinLinks {
					want.Add(code.NotInMode, row.key, "", "is %s, but mode %s does not have this option; these modes do: %s", text, mode, strings.Join(row.modes, ", "))
				}
				Options{row.key: text}.checkModes(mode, &got)
				assert.Equal(t, want, got, "%s in %s", row.key, mode)
			}
		}
	}
}

// TestPrimaryByPrio: if a link has a prio, there is no default primary. A link
// can be called none.
func TestPrimaryByPrio(t *testing.T) {
	o, problems := ParseOptions(nil, []string{"net1", "net2"}, []Options{nil, {prio: "1"}})
	require.NoError(t, problems.Err())
	assert.Empty(t, o[Primary])
	o, problems = ParseOptions(rawOptions(t, `{"primary":"none"}`), []string{"net1", "none"}, nil)
	require.NoError(t, problems.Err())
	assert.Equal(t, "none", o[Primary])
}

func TestLinkOptions(t *testing.T) {
	for _, c := range []struct {
		mode, raw string // the links
		want      []Options
		problems  []string
	}{
		{ActiveBackup, `[{"name":"net1"},{}]`, []Options{{}, {}}, nil},
		{ActiveBackup, `[{"prio":-5,"queueId":"3"},{"prio":"2147483647","queueId":0},{"queueId":0}]`,
			[]Options{{prio: "-5", queueID: "3"}, {prio: "2147483647", queueID: "0"}, {queueID: "0"}}, nil},
		{LACP, `[{"actorPortPrio":1},{"actorPortPrio":"65535","prio":0}]`, []Options{{"actorPortPrio": "1"}, {"actorPortPrio": "65535", prio: "0"}}, nil},
		{BalanceRR, `[{"prio":5},{"actorPortPrio":5}]`, []Options{{prio: "5"}, {"actorPortPrio": "5"}}, []string{
			"links[0].prio: is 5, but mode balance-rr does not have this option; these modes do: active-backup, balance-tlb, balance-alb",
			"links[1].actorPortPrio: is 5, but mode balance-rr does not have this option; these modes do: 802.3ad"}},
		{BalanceRR, `[{"queueId":2},{"queueId":1},{"queueId":"2"}]`, []Options{{queueID: "2"}, {queueID: "1"}, {queueID: "2"}},
			[]string{"links[2].queueId: is 2, which links[0] already has"}},
		{ActiveBackup, `[{"queueId":17,"prio":2147483648},{"prio":"+1"},{"prio":1.5},{"actorPortPrio":0},{"prio":""}]`, []Options{{}, {}, {}, {}, {}}, []string{
			"queueId: is 17, want 0 to 16", "prio: is 2147483648, want -2147483648 to 2147483647", `prio: is "+1", want -2147483648 to 2147483647`,
			"prio: is 1.5, want -2147483648 to 2147483647", "actorPortPrio: is 0, want 1 to 65535", `prio: is "", want -2147483648 to 2147483647`}},
	} {
		var raws []map[string]json.RawMessage
		require.NoError(t, json.Unmarshal([]byte(c.raw), &raws), c.raw)
		var got []Options
		var problems Problems
		for _, raw := range raws {
			o, own := ParseLinkOptions(raw)
			got, problems = append(got, o), append(problems, own...)
		}
		problems = append(problems, checkLinkOptions(c.mode, got)...)
		assert.Equal(t, c.want, got, c.raw)
		assert.Equal(t, c.problems, lines(problems), c.raw)
	}
}

// TestTable: keys are unique, and modes, needed options and defaults exist.
func TestTable(t *testing.T) {
	seen := map[string]bool{}
	for _, row := range table {
		for _, key := range row.keys() {
			assert.False(t, seen[key], key)
			seen[key] = true
		}
		assert.NotEmpty(t, row.doc, row.key)
		for _, mode := range row.modes {
			assert.Contains(t, modeNames, mode, row.key)
		}
		if row.needs != "" {
			assert.Equal(t, row.needs, tableByKey[row.needs].key, row.key)
		}
		if row.unset != "" {
			parsed, err := row.kind.parse(json.RawMessage(`"` + row.unset + `"`))
			require.NoError(t, err, row.key)
			assert.Equal(t, row.unset, parsed, row.key)
		}
	}
	assert.Equal(t, []string{"mode", "mtu", "mac", "macPolicy", "vlan", "acceptRA", "miimon", "updelay", "downdelay", "failOverMac", "primary", "activeSlave", "xmitHashPolicy",
		"allSlavesActive", "tlbDynamicLb", "arpInterval", "arpIpTarget", "arpValidate",
		"arpAllTargets", "arpMissedMax", "nsIp6Target", "useCarrier", "primaryReselect", "numGratArp", "numUnsolNa", "peerNotifDelay", "resendIgmp",
		"packetsPerSlave", "lpInterval", "minLinks", "lacpRate", "lacpActive", "adSelect", "adActorSysPrio", "adActorSystem",
		"adUserPortKey", "coupledControl", "broadcastNeighbor", "lacpStrict"}, OptionKeys())
	assert.Equal(t, []string{"queueId", "prio", "actorPortPrio"}, LinkOptionKeys())
}

func TestOptionsString(t *testing.T) {
	for _, c := range []struct {
		o    Options
		want string
	}{
		{Options{Mode: ActiveBackup, Miimon: "100", FailOverMac: "active"}, "active-backup miimon 100 fail_over_mac active"},
		{Options{Mode: BalanceRR, Miimon: "0"}, "balance-rr miimon 0"},
		{Options{Mode: LACP, MinLinks: "2"}, "802.3ad min_links 2"},
		{Options{Mode: ActiveBackup, MinLinks: "2"}, "active-backup"}, // a mode in which the kernel has none
		{Options{Mode: ActiveBackup, FailOverMac: "none", MTU: "9000", MAC: "02:00:00:00:00:01", Primary: "net1"},
			"active-backup mtu 9000 mac 02:00:00:00:00:01 primary net1"},
		{Options{Mode: BalanceTLB, "tlbDynamicLb": "0", "xmitHashPolicy": "layer3+4", "allSlavesActive": "1"},
			"balance-tlb xmit_hash_policy layer3+4 all_slaves_active 1 tlb_dynamic_lb 0"},
		{Options{Mode: ActiveBackup, arpInterval: "200", arpIPTarget: "10.0.0.1,10.0.0.2", arpValidate: "filter_active"},
			"active-backup arp_interval 200 arp_ip_target 10.0.0.1,10.0.0.2 arp_validate filter_active"},
	} {
		assert.Equal(t, c.want, c.o.String())
	}
}

// TestOptionsUnknown: a kernel skips an attribute that it does not know without
// an error.
func TestOptionsUnknown(t *testing.T) {
	asked := Options{Mode: LACP, "coupledControl": "0", "lacpActive": "0", "adActorSystem": "02:00:00:00:00:01"}
	assert.NoError(t, asked.unknown(Options{Mode: LACP, "coupledControl": "0", "lacpActive": "0"}))
	assert.EqualError(t, asked.unknown(Options{Mode: LACP, "lacpActive": "0"}),
		"coupledControl: is 0, but this kernel does not have this option; Linux 6.9 and later have it (leave it out, or use a newer kernel)")
	assert.NoError(t, Options{Mode: LACP, "coupledControl": "1"}.unknown(Options{Mode: LACP}), "the default is not sent")
}

// TestOptionsExplain: a kernel that is older than a value refuses it as any wrong one.
func TestOptionsExplain(t *testing.T) {
	newest, old := Options{Mode: LACP, "adSelect": "actor_port_prio"}, Options{Mode: LACP, "adSelect": "count"}
	err := newest.explain(unix.EINVAL)
	assert.EqualError(t, err, "invalid argument: adSelect: is actor_port_prio, a value that Linux 6.18 and later have (use another value, or a newer kernel)")
	assert.ErrorIs(t, err, unix.EINVAL)
	assert.Equal(t, unix.EINVAL, old.explain(unix.EINVAL))
	assert.Equal(t, unix.EEXIST, newest.explain(unix.EEXIST))
}

func TestOptionsDifferences(t *testing.T) {
	asked := Options{Mode: ActiveBackup, Miimon: "100", FailOverMac: "active", Primary: "net1", MTU: "1500"}
	found := Options{Mode: ActiveBackup, Miimon: "100", FailOverMac: "active", Primary: "net1", MTU: "1500", MAC: "02:00:00:00:00:01", "tlbDynamicLb": "1"}
	assert.Empty(t, asked.Differences(found))
	assert.Equal(t, []string{
		"mode is balance-rr, was active-backup",
		"mtu is 1400, was 1500",
		"miimon is 0, was 100",
		"failOverMac is none, was active",
		"primary is not set, was net1",
	}, asked.Differences(Options{Mode: BalanceRR, MTU: "1400", Miimon: "0", FailOverMac: "none"}))

	assert.Empty(t, Options{Mode: ActiveBackup, MinLinks: "2"}.Differences(Options{Mode: ActiveBackup, MinLinks: "0"}), "a mode that lacks it")
	assert.Equal(t, []string{"minLinks is 0, was 2"}, Options{Mode: LACP, MinLinks: "2"}.Differences(Options{Mode: LACP, MinLinks: "0"}))

	// The bond has the MAC that was asked for, except with failOverMac active.
	given := Options{Mode: BalanceRR, MAC: "02:00:00:00:00:01"}
	assert.Equal(t, []string{"mac is 02:00:00:00:00:02, was 02:00:00:00:00:01"},
		given.Differences(Options{Mode: BalanceRR, MAC: "02:00:00:00:00:02"}))
	given[FailOverMac] = "active"
	assert.Empty(t, given.Differences(Options{Mode: BalanceRR, MAC: "02:00:00:00:00:02", FailOverMac: "active"}), "the active link's MAC")
}

// TestOptionsDifferencesOldKernel: on a kernel that does not know an option, the
// kernel's own default is no difference.
func TestOptionsDifferencesOldKernel(t *testing.T) {
	assert.Empty(t, Options{Mode: LACP, "coupledControl": "1"}.Differences(Options{Mode: LACP}))
	assert.Equal(t, []string{"coupledControl is not set, was 0"},
		Options{Mode: LACP, "coupledControl": "0"}.Differences(Options{Mode: LACP}))
	assert.Equal(t, []string{"coupledControl is 0, was 1"},
		Options{Mode: LACP, "coupledControl": "1"}.Differences(Options{Mode: LACP, "coupledControl": "0"}))
}

// FuzzParseOptions: accepted values are canonical and can be sent to the kernel.
func FuzzParseOptions(f *testing.F) {
	for _, seed := range []string{
		`{}`, `{"mode":"active-backup","miimon":"100","failOverMac":1}`, `{"mode":null}`, `{"mode":true,"mtu":1e3}`,
		`{"arpInterval":100,"arpIpTarget":["10.0.0.1","10.0.0.2"],"arpValidate":3}`, `{"arpIpTarget":"1.1.1.1,"}`,
		`{"mac":"02:00:00:00:00:01","mode":4}`, `{"primary":"net1","updelay":200}`, `{"mtu":-1,"mode":[]}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		raw := map[string]json.RawMessage{}
		if json.Unmarshal(data, &raw) != nil {
			for _, row := range table {
				raw[row.key] = data // not JSON at all
			}
		}
		links := []string{"net1", "net2"}
		o, problems := ParseOptions(raw, links, nil)
		if len(problems) > 0 {
			return
		}
		again := map[string]json.RawMessage{}
		for key, text := range o {
			row := tableByKey[key]
			quoted, err := json.Marshal(text)
			require.NoError(t, err, key)
			again[key] = quoted
			if _, isLink := row.kind.(linkName); !isLink {
				assert.Equal(t, text, row.kind.decode(row.kind.encode(text)), key)
			}
		}
		if _, there := again[Primary]; !there {
			again[Primary] = json.RawMessage(`"none"`) // without the key it would be the first link
		}
		same, problems := ParseOptions(again, links, nil)
		require.NoError(t, problems.Err())
		assert.Equal(t, o, same)
	})
}
