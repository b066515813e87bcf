package delegate

// replyInputs are the inputs that FuzzAgentReply starts from.
var replyInputs = []struct{ name, text string }{
	{"a plugin with a device", `{"version":1,"lookup":{"attachments":[{"name":"demo/a","ifName":"net1","devices":["0000:3b:02.0"],"config":{"type":"macvlan","name":"a"}}]}}`},
	{"a bond and a list of plugins", `{"lookup":{"attachments":[{"ifName":"bond0","bond":true,"config":{"name":"b","links":[{"deviceID":"0000:3b:02.0"},{"config":{"type":"macvlan"}}],"delegate":{"type":"sriov","vlan":7}}},{"ifName":"net2","config":{"name":"c","plugins":[{"type":"x"},{"type":"y"}]}}]}}`},
	{"a default network with a device-info file outside", `{"lookup":{"attachments":[{"default":true,"ifName":"eth0","config":{"name":"c","type":"x"},"deviceInfoFile":"/a/../b","deviceInfo":{},"defaultRoute":[]}]}}`},
	{"null for attachments, and an error", `{"lookup":{"attachments":null},"error":{"code":7}}`},
	{"the first byte of a character", "\xc6"},
	{"the first byte of another character", "\xc7"},
	{"a control character in a string", "\"\x01"},
	{"a number and half a string", `0"0`},
	{"a list cut off after a comma", "[{},"},
	{"a digit for a key", "{0"},
	{"a control character after an empty key", "{\"\"\x1a"},
	{"a control character after a key", "{\"00000\"\x10"},
	{"a control character after an inner key", "{\"\":1,\"00000\":{\"00000000000\"\x1a"},
	{"a digit for a colon", `{"000":1,"00000"0`},
	{"a digit for a colon within an attachment", `{"00":{"00000000000":[{"0000000":true,"000000":"0000","00"0`},
	{"a byte that is not UTF-8 for a comma", "{\"\":{\"\":null},\"\":{\"\":0}\x9f"},
	{"a letter for a value", `{"00000":{"00000000000":A`},
	{"NUL in a key after an object", "{\"\":{\"\":\"\",\"\":\"\"},\"\x00"},
	{"a control character in a key of an attachment", "{\"\":{\"\":[{\"\":true,\"\":\"00\",\"000000\":{\"0000\":\"0\",\"0000\":\"0\"},\"00000000000000\":\"0000000\",\"0000000000\":{},\"0\x05"},
	{"a control character in a key after a bond", "{\"\":{\"\":[{\"\":\"\",\"\":true,\"\":{\"\":\"\",\"\":[{\"\":\"0000000\"},{\"000000\":{\"0000\":\"0000000\"}}],\"00000000\":{\"0000\":\"00000\",\"0000\":1}}},\"\x01"},
}
