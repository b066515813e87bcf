// Package delegate is the life of one sandbox's attachment:
//
//	Request  what is wanted            from the configuration and the runtime
//	Facts    what the node looks like  from sysfs, netlink and CNI_PATH
//	Plan     what will be done         plan.Compile(Request, Facts)
//	Record   what has been done        on disk before the first effect
//	Restore  the one way back          for a failed ADD, for DEL and for GC
//
// The pure line: netconf.Parse and plan.Compile are functions of their arguments alone.
// Everything that looks at the machine or changes it is a method of [Host], whose fields
// are its edges.
package delegate
