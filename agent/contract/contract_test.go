package contract

import "testing"

func TestCheck(t *testing.T) {
	l := newLab(t)
	for _, check := range []struct {
		name string
		run  func(*testing.T)
	}{
		{"01 queues that the server declared are published to", l.check01},
		{"02 a queue that a documented consumer declared is published to", l.check02},
		{"03 every link has its queue, with the server's arguments", l.check03},
		{"04 every command of the server has one valid response", l.check04},
		{"05 uuid, terminal and timestamp come back verbatim", l.check05},
		{"06 every response has all stamps", l.check06},
		{"07 names that do not resolve are errors in time", l.check07},
		{"08 total loss is a result of numbers", l.check08},
		{"09 ping sends as many packets as it is told", l.check09},
		{"10 timeouts of ping are seconds", l.check10},
		{"11 locations are complete", l.check11},
		{"12 an empty body is left out", l.check12},
		{"13 the phases of http add up", l.check13},
		{"14 header fields in both spellings reach the target", l.check14},
		{"15 methods, bodies, credentials and redirects", l.check15},
		{"16 failures of http have libcurl's numbers", l.check16},
		{"17 name servers and timeouts of dns are honoured", l.check17},
		{"18 all types of record come with ips", l.check18},
		{"19 a path is a bare array, whatever routers say", l.check19},
		{"20 URLs and host:port are destinations of every command", l.check20},
		{"21 reports pass, come at once and again", l.check21},
		{"22 the parts of reports that servers stumble over", l.check22},
		{"23 access is what a link reaches", l.check23},
		{"24 the serial number of a Pi is the original's, and stays", l.check24},
		{"25 an agent survives its broker and its link", l.check25},
		{"26 what is answered is acknowledged and not run again", l.check26},
		{"27 fifty commands at once, and a stuck one is cut", l.check27},
		{"28 garbage kills nothing and is answered if it can be", l.check28},
		{"29 the original's file and command line are understood", l.check29},
		{"30 a clock that is not set is waited for", l.check30},

		// Beyond the list.
		{"links carry the commands of their queues", l.links},
		{"ping takes all its options", l.pingOptions},
		{"public addresses are found by each link", l.publicAddresses},
		{"browsers start from within the sandbox", l.browsers},
	} {
		t.Run(check.name, check.run)
	}
}
