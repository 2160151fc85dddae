package doctor

// Step is one question to the terminal, in the order in which they are asked.
// The numbers are part of the code and do not change.
type Step int

// The steps.
const (
	Link     Step = 1 + iota // is there a network link?
	Carrier                  // does it have a signal?
	Address                  // does it have an address, by DHCP or by hand?
	Conflict                 // is the address its own?
	Gateway                  // does the router answer?
	Names                    // is the broker's name known?
	Clock                    // is the clock right? Certificates are judged by it
	Connect                  // does the broker take a TCP connection?
	TLS                      // is it the broker that it should be?
	Login                    // does it know the user?
	VHost                    // may the user use the virtual host?
	Queue                    // are this terminal's commands being taken?
)

// Verdict is what was found in a step: ten times the step, and a digit. The
// numbers are part of the code: they do not change, and are not used again.
type Verdict int

// Step is the step that the verdict is about.
func (v Verdict) Step() Step { return Step(v / 10) }

// State is what the verdict means for the terminal.
func (v Verdict) State() State { return texts[v].state }

// The verdicts. Of each step 0 is that all is well, and 9 that it could not be
// examined.
const (
	LinkFine    Verdict = 10
	LinkNone    Verdict = 11
	LinkUnknown Verdict = 12
	LinkDown    Verdict = 13
	LinkHidden  Verdict = 19

	CarrierFine   Verdict = 20
	CarrierNone   Verdict = 21
	CarrierRadio  Verdict = 22
	CarrierModem  Verdict = 23
	CarrierDuplex Verdict = 24

	AddressLeased    Verdict = 30
	AddressNoServer  Verdict = 31
	AddressOffered   Verdict = 32
	AddressLinkLocal Verdict = 33
	AddressNone      Verdict = 34
	AddressByHand    Verdict = 35
	AddressOnly6     Verdict = 36

	ConflictNone   Verdict = 40
	ConflictFound  Verdict = 41
	ConflictNoARP  Verdict = 42
	ConflictHidden Verdict = 49

	GatewayFine      Verdict = 50
	GatewayNone      Verdict = 51
	GatewaySilent    Verdict = 52
	GatewayElsewhere Verdict = 53
	GatewayNoARP     Verdict = 54
	GatewayHidden    Verdict = 59

	NamesFine     Verdict = 60
	NamesNoServer Verdict = 61
	NamesSilent   Verdict = 62
	NamesUnknown  Verdict = 63
	NamesRefused  Verdict = 64
	NamesPartly   Verdict = 65
	NamesUnneeded Verdict = 66
	NamesIdle     Verdict = 67
	NamesByFile   Verdict = 68

	ClockFine      Verdict = 70
	ClockUnset     Verdict = 71
	ClockWrong     Verdict = 72
	ClockUnchecked Verdict = 73
	ClockKept      Verdict = 74

	ConnectFine        Verdict = 80
	ConnectNoBroker    Verdict = 81
	ConnectRefused     Verdict = 82
	ConnectSilent      Verdict = 83
	ConnectUnreachable Verdict = 84
	ConnectFailed      Verdict = 85
	ConnectUnreadable  Verdict = 86

	TLSFine     Verdict = 90
	TLSUnused   Verdict = 91
	TLSUnknown  Verdict = 92
	TLSName     Verdict = 93
	TLSDate     Verdict = 94
	TLSNone     Verdict = 95
	TLSFailed   Verdict = 96
	TLSExpiring Verdict = 97
	TLSFiles    Verdict = 98

	LoginFine    Verdict = 100
	LoginRefused Verdict = 101
	LoginNotAMQP Verdict = 102
	LoginSilent  Verdict = 103
	LoginFailed  Verdict = 104

	VHostFine    Verdict = 110
	VHostNone    Verdict = 111
	VHostRefused Verdict = 112
	VHostFailed  Verdict = 113

	QueueFine      Verdict = 120
	QueueNone      Verdict = 121
	QueueUnwatched Verdict = 122
	QueueRefused   Verdict = 123
	QueueShared    Verdict = 124
	QueueFailed    Verdict = 125
)
