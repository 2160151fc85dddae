package doctor

import (
	"fmt"
	"strings"
)

// Language is one that the doctor speaks.
type Language int

// The languages.
const (
	English Language = iota
	Chinese

	languages = iota
)

// ParseLanguage reads the name of a language, or a locale such as zh_CN.UTF-8.
func ParseLanguage(s string) (Language, error) {
	switch name, _, _ := strings.Cut(strings.ToLower(s), "_"); name {
	case "en":
		return English, nil
	case "zh":
		return Chinese, nil
	}
	return English, fmt.Errorf("language %q is neither en nor zh", s)
}

// phrase is the same in each language.
type phrase [languages]string

// text is how a verdict is put: what is the case, with the finding's arguments
// as fmt takes them, and what to do about it, which has no arguments of its own.
type text struct {
	state  State
	said   phrase
	advice phrase // empty where there is nothing to do
}

var stepNames = map[Step]phrase{
	Link:     {"link", "网卡"},
	Carrier:  {"carrier", "信号"},
	Address:  {"dhcp", "地址"},
	Conflict: {"conflict", "冲突"},
	Gateway:  {"gateway", "网关"},
	Names:    {"dns", "域名"},
	Clock:    {"clock", "时钟"},
	Connect:  {"tcp", "连接"},
	TLS:      {"tls", "TLS"},
	Login:    {"login", "登录"},
	VHost:    {"vhost", "虚拟主机"},
	Queue:    {"queue", "队列"},
}

var stateNames = map[State]phrase{
	Passed:  {"ok", "正常"},
	Warned:  {"WARN", "注意"},
	Failed:  {"FAIL", "故障"},
	Skipped: {"-", "-"},
}

// The sentences around the steps.
var (
	skippedAfter = phrase{"not examined: needs %s", "未检查：需先解决“%s”"}
	skippedTime  = phrase{"not examined: the time was over", "未检查：时间已到"}
	online       = phrase{"Nothing keeps this terminal offline.", "本终端联网正常。"}
	offline      = phrase{"This terminal is offline because of: %s.", "本终端无法上线，原因在于：%s。"}
	notDone      = phrase{"The examination was not finished.", "检查未完成。"}
	codeIs       = phrase{"Code %s, to be read out over a telephone.", "故障码 %s，可在电话中报读。"}
	explainLink  = phrase{"link: %s", "网卡类型：%s"}
	explainFine  = phrase{"nothing keeps the terminal offline", "没有任何问题使终端离线"}
)

// texts are the verdicts as people read them. Each is complete in every
// language; advice names commands of the natrix shell.
var texts = map[Verdict]text{
	LinkFine:    {Passed, phrase{"%s, %s, %s", "%s，%s，%s"}, phrase{}},
	LinkNone:    {Failed, phrase{"this machine has no network link", "本机没有网卡"}, phrase{"Plug a network adapter in. If there is one, its driver is missing: see log.", "请插入网卡；若已插入，则缺少驱动程序，请查看 log。"}},
	LinkUnknown: {Failed, phrase{"no link %q; there are: %s", "没有网卡 %q；现有：%s"}, phrase{"Give --link one of these names, or none.", "请用 --link 指定上述名称之一，或不指定。"}},
	LinkDown:    {Failed, phrase{"%s is switched off", "%s 已被停用"}, phrase{"Switch it on: set link LINK up.", "请启用：set link 网卡 up。"}},
	LinkHidden:  {Failed, phrase{"the kernel does not tell its links: %v", "无法从内核读取网卡：%v"}, phrase{"Restart the machine. If that does not help, send the log to the manufacturer.", "请重启设备；若仍无效，请将日志发给厂家。"}},

	CarrierFine:   {Passed, phrase{"%s", "%s"}, phrase{}},
	CarrierNone:   {Failed, phrase{"no signal on %s", "%s 没有信号"}, phrase{"Plug the cable in at both ends. Try another cable, then another port of the switch.", "请检查网线两端是否插好；更换网线，再更换交换机端口。"}},
	CarrierRadio:  {Failed, phrase{"%s is not connected to a wireless network", "%s 未连接到无线网络"}, phrase{"Check the network's name and password, and move closer to the access point.", "请检查无线网络名称和密码，并靠近接入点。"}},
	CarrierModem:  {Failed, phrase{"the modem %s has no connection", "调制解调器 %s 没有连接"}, phrase{"Check the SIM card, its PIN, the antenna and the coverage.", "请检查 SIM 卡、PIN 码、天线和信号覆盖。"}},
	CarrierDuplex: {Warned, phrase{"%s runs at half duplex, %d Mbit/s", "%s 为半双工，%d Mbit/s"}, phrase{"Set the port of the switch to negotiate by itself.", "请将交换机端口设为自动协商。"}},

	AddressLeased:    {Passed, phrase{"%s from the DHCP server %s, %s left", "%s，来自 DHCP 服务器 %s，剩余 %s"}, phrase{}},
	AddressNoServer:  {Failed, phrase{"no DHCP server answers on %s", "%s 上没有 DHCP 服务器应答"}, phrase{"Check the VLAN of the switch port and that the DHCP server runs, or give an address by hand: set address.", "请检查交换机端口的 VLAN 以及 DHCP 服务器是否运行，或手工设置地址：set address。"}},
	AddressOffered:   {Failed, phrase{"the DHCP server %s offers %s, but it was not taken", "DHCP 服务器 %s 提供了 %s，但未被采用"}, phrase{"Wait half a minute and ask again. If it stays so: restart network.", "请等待半分钟后再试；若仍如此：restart network。"}},
	AddressLinkLocal: {Failed, phrase{"%s gave itself the address %s, because no DHCP server answered", "没有 DHCP 服务器应答，%s 自行使用了地址 %s"}, phrase{"Check the VLAN of the switch port and that the DHCP server runs, or give an address by hand: set address.", "请检查交换机端口的 VLAN 以及 DHCP 服务器是否运行，或手工设置地址：set address。"}},
	AddressNone:      {Failed, phrase{"%s has no address, and DHCP could not be tried: %v", "%s 没有地址，且无法尝试 DHCP：%v"}, phrase{"Run the doctor as root, or give the link an address.", "请以 root 身份运行，或为网卡设置地址。"}},
	AddressByHand:    {Passed, phrase{"%s, not leased by natrix", "%s，并非由 natrix 租用"}, phrase{}},
	AddressOnly6:     {Passed, phrase{"%s, IPv6 only", "%s，仅有 IPv6"}, phrase{}},

	ConflictNone:   {Passed, phrase{"nobody else uses %s", "没有其他设备使用 %s"}, phrase{}},
	ConflictFound:  {Failed, phrase{"%s also uses the address %s", "%s 也在使用地址 %s"}, phrase{"Find the device with that MAC address, or give one of the two another address.", "请找到该 MAC 地址的设备，或为其中之一更换地址。"}},
	ConflictNoARP:  {Passed, phrase{"nothing to ask on this kind of link", "此类网卡无需检查"}, phrase{}},
	ConflictHidden: {Warned, phrase{"could not ask: %v", "无法检查：%v"}, phrase{"Run the doctor as root.", "请以 root 身份运行。"}},

	GatewayFine:      {Passed, phrase{"%s answers, it is %s", "%s 有应答，其 MAC 为 %s"}, phrase{}},
	GatewayNone:      {Failed, phrase{"no gateway: nothing beyond %s can be reached", "没有网关：无法到达 %s 以外的网络"}, phrase{"Have the DHCP server tell its router, or give one by hand: set address LINK ADDRESS GATEWAY.", "请在 DHCP 服务器上配置路由器，或手工设置：set address 网卡 地址 网关。"}},
	GatewaySilent:    {Failed, phrase{"the gateway %s does not answer on %s", "网关 %s 在 %s 上没有应答"}, phrase{"Check that the router is on, in the same VLAN, and has this address.", "请检查路由器是否开机、是否在同一 VLAN、地址是否正确。"}},
	GatewayElsewhere: {Warned, phrase{"%s has no gateway; the machine's is by %s", "%s 没有网关；本机网关在 %s 上"}, phrase{"That is right for a second link that reaches only its own network.", "若该网卡只访问本地网络，则属正常。"}},
	GatewayNoARP:     {Passed, phrase{"by %s, which needs no address", "经由 %s，无需地址"}, phrase{}},
	GatewayHidden:    {Warned, phrase{"could not ask %s: %v", "无法询问 %s：%v"}, phrase{"Run the doctor as root.", "请以 root 身份运行。"}},

	NamesFine:     {Passed, phrase{"%s is %s, says %s", "%s 为 %s（由 %s 应答）"}, phrase{}},
	NamesNoServer: {Failed, phrase{"no name server is known, and the broker is %s", "没有域名服务器，而服务器地址为 %s"}, phrase{"Have the DHCP server tell one, or give one by hand: set dns ADDRESS.", "请在 DHCP 服务器上配置，或手工设置：set dns 地址。"}},
	NamesSilent:   {Failed, phrase{"no answer from %s", "%s 没有应答"}, phrase{"Check the address of the name server and the way to it, or use another: set dns ADDRESS.", "请检查域名服务器的地址及其网络，或更换：set dns 地址。"}},
	NamesUnknown:  {Failed, phrase{"%s is not a name that %s knows", "%s 在 %s 上查不到"}, phrase{"Check the spelling of the broker's name (config show), and that this name server knows it.", "请检查服务器名称的拼写（config show），以及该域名服务器是否应当知道它。"}},
	NamesRefused:  {Failed, phrase{"%s does not want to answer: %s", "%s 拒绝应答：%s"}, phrase{"Allow this terminal at the name server, or use another: set dns ADDRESS.", "请在域名服务器上允许本终端，或更换：set dns 地址。"}},
	NamesPartly:   {Warned, phrase{"%s is %s, but %s does not answer", "%s 为 %s，但 %s 没有应答"}, phrase{"Repair or remove the name server that does not answer: it costs seconds each time.", "请修复或移除没有应答的域名服务器：每次会多耗数秒。"}},
	NamesUnneeded: {Passed, phrase{"%s answers; the broker is reached without a name", "%s 有应答；连接服务器无需域名"}, phrase{}},
	NamesIdle:     {Warned, phrase{"no answer from %s; the broker is reached without a name", "%s 没有应答；连接服务器无需域名"}, phrase{"The broker can be reached, names cannot be measured: set dns ADDRESS.", "服务器可以到达，但无法测试域名：set dns 地址。"}},
	NamesByFile:   {Passed, phrase{"%s is %s, says /etc/hosts", "%s 为 %s（由 /etc/hosts 指定）"}, phrase{}},

	ClockFine:      {Passed, phrase{"%s, right to %s, says %s", "%s，误差 %s（由 %s 应答）"}, phrase{}},
	ClockUnset:     {Failed, phrase{"%s is before this natrix was built", "%s 早于本 natrix 的构建时间"}, phrase{"Let UDP port 123 through to a time server, name another (set clock ntp SERVER), or set clock TIME.", "请放行到时间服务器的 UDP 123 端口，或更换（set clock ntp 服务器），或手工设置：set clock 时间。"}},
	ClockWrong:     {Failed, phrase{"%s is wrong by %s, says %s", "%s，偏差 %s（由 %s 应答）"}, phrase{"Wait a minute and ask again, or set clock TIME.", "请等待一分钟后再试，或手工设置：set clock 时间。"}},
	ClockUnchecked: {Warned, phrase{"%s; no answer from %s", "%s；%s 没有应答"}, phrase{"Let UDP port 123 through to a time server, or name another: set clock ntp SERVER.", "请放行到时间服务器的 UDP 123 端口，或更换：set clock ntp 服务器。"}},
	ClockKept:      {Passed, phrase{"%s, kept by the kernel", "%s，由内核校准"}, phrase{}},

	ConnectFine:        {Passed, phrase{"%s in %s", "%s，用时 %s"}, phrase{}},
	ConnectNoBroker:    {Failed, phrase{"no broker is configured", "未配置服务器"}, phrase{"Name it: set broker amqp://USER:PASSWORD@HOST:5672/VHOST.", "请设置：set broker amqp://用户:密码@主机:5672/虚拟主机。"}},
	ConnectRefused:     {Failed, phrase{"%s refuses the connection", "%s 拒绝连接"}, phrase{"Check the port (5672, with TLS 5671) and that the broker runs.", "请检查端口（5672，TLS 为 5671）以及服务器程序是否运行。"}},
	ConnectSilent:      {Failed, phrase{"%s does not answer", "%s 没有应答"}, phrase{"The address is wrong, or a firewall on the way drops the packets: traceroute -T -p PORT HOST.", "地址有误，或途中防火墙丢弃了报文：traceroute -T -p 端口 主机。"}},
	ConnectUnreachable: {Failed, phrase{"there is no way to %s: %v", "无法到达 %s：%v"}, phrase{"Check gateway and routes, and the router that reports this.", "请检查网关、路由以及报告此错误的路由器。"}},
	ConnectFailed:      {Failed, phrase{"%s: %v", "%s：%v"}, phrase{"See log, and check the broker's address: config show.", "请查看 log，并检查服务器地址：config show。"}},
	ConnectUnreadable:  {Failed, phrase{"the broker's URL cannot be read", "无法识别服务器的 URL"}, phrase{"Name it again: set broker amqp://USER:PASSWORD@HOST:5672/VHOST, with %40 for @ in a password.", "请重新设置：set broker amqp://用户:密码@主机:5672/虚拟主机，密码中的 @ 写作 %40。"}},

	TLSFine:     {Passed, phrase{"%s, certificate valid until %s", "%s，证书有效期至 %s"}, phrase{}},
	TLSUnused:   {Passed, phrase{"not used: the URL begins with amqp://", "未使用：URL 以 amqp:// 开头"}, phrase{}},
	TLSUnknown:  {Failed, phrase{"%s: certificate of an unknown authority (%s)", "%s：证书由未知机构签发（%s）"}, phrase{"If this is your broker, give its authority's certificate with ?cacertfile= in the URL. If not, somebody listens in.", "若确为您的服务器，请在 URL 中用 ?cacertfile= 指定其签发机构的证书；否则可能有人窃听。"}},
	TLSName:     {Failed, phrase{"the certificate is not for %s but for %s", "证书不属于 %s，而属于 %s"}, phrase{"Use the broker's name that is in the certificate, or have the certificate made anew.", "请使用证书中的名称，或重新签发证书。"}},
	TLSDate:     {Failed, phrase{"the certificate is valid from %s to %s, and the clock says %s", "证书有效期为 %s 至 %s，而时钟为 %s"}, phrase{"Renew the broker's certificate, or set the clock of this terminal right.", "请更新服务器证书，或校正本终端的时钟。"}},
	TLSNone:     {Failed, phrase{"%s does not speak TLS", "%s 不支持 TLS"}, phrase{"Use the broker's port for TLS (5671), or amqp:// without TLS.", "请使用 TLS 端口（5671），或改用不加密的 amqp://。"}},
	TLSFailed:   {Failed, phrase{"%s: %v", "%s：%v"}, phrase{"The broker wants TLS 1.2 or later, perhaps with a client's certificate: see the broker's log.", "服务器须支持 TLS 1.2 以上，可能还要求客户端证书：请查看服务器日志。"}},
	TLSExpiring: {Warned, phrase{"%s, but the certificate expires on %s", "%s，但证书将于 %s 到期"}, phrase{"Renew the broker's certificate before then.", "请在此之前更新服务器证书。"}},
	TLSFiles:    {Failed, phrase{"the URL names certificates that cannot be read: %v", "无法读取 URL 中指定的证书：%v"}, phrase{"Check cacertfile=, certfile= and keyfile= in the broker's URL.", "请检查服务器 URL 中的 cacertfile=、certfile= 和 keyfile=。"}},

	LoginFine:    {Passed, phrase{"%s lets %s in", "%s 允许 %s 登录"}, phrase{}},
	LoginRefused: {Failed, phrase{"the broker does not let the user %s in", "服务器拒绝用户 %s 登录"}, phrase{"Check user name and password (set broker). The user guest may only log in on the broker's own machine.", "请检查用户名和密码（set broker）。用户 guest 只能在服务器本机登录。"}},
	LoginNotAMQP: {Failed, phrase{"%s does not speak AMQP 0-9-1", "%s 不支持 AMQP 0-9-1"}, phrase{"Check the port: 5672, or 5671 with amqps://. 15672 is the web page.", "请检查端口：5672，或 5671 配合 amqps://。15672 是网页端口。"}},
	LoginSilent:  {Failed, phrase{"%s takes the connection and then says nothing", "%s 接受连接后没有应答"}, phrase{"The port may want TLS (amqps://), the broker may be overloaded (memory, disk), or a firewall holds the packets.", "端口可能要求 TLS（amqps://），或服务器过载（内存、磁盘），或防火墙拦截。"}},
	LoginFailed:  {Failed, phrase{"%s: %v", "%s：%v"}, phrase{"See the broker's log.", "请查看服务器日志。"}},

	VHostFine:    {Passed, phrase{"%s", "%s"}, phrase{}},
	VHostNone:    {Failed, phrase{"the broker has no virtual host %s", "服务器上没有虚拟主机 %s"}, phrase{"Check the end of the URL: natrix and /natrix are two virtual hosts, and the second is written %2Fnatrix.", "请检查 URL 末尾：natrix 与 /natrix 是两个不同的虚拟主机，后者写作 %2Fnatrix。"}},
	VHostRefused: {Failed, phrase{"the user %s may not use the virtual host %s", "用户 %s 无权使用虚拟主机 %s"}, phrase{"On the broker: rabbitmqctl set_permissions -p VHOST USER '.*' '.*' '.*'.", "请在服务器上执行：rabbitmqctl set_permissions -p 虚拟主机 用户 '.*' '.*' '.*'。"}},
	VHostFailed:  {Failed, phrase{"%s: %v", "%s：%v"}, phrase{"See the broker's log. It may limit its connections.", "请查看服务器日志，可能限制了连接数。"}},

	QueueFine:      {Passed, phrase{"%s, being taken from", "%s，正在接收"}, phrase{}},
	QueueNone:      {Failed, phrase{"there is no queue %s", "没有队列 %s"}, phrase{"The agent makes it once it is connected: see status and log.", "代理连接后会建立该队列：请查看 status 和 log。"}},
	QueueUnwatched: {Failed, phrase{"nobody takes commands from %s, %d wait", "无人接收 %s 的命令，%d 条在等待"}, phrase{"The agent does not run, or is about to connect again: see status and log.", "代理未运行，或正要重新连接：请查看 status 和 log。"}},
	QueueRefused:   {Failed, phrase{"the user %s may not look at %s", "用户 %s 无权查看 %s"}, phrase{"On the broker: rabbitmqctl set_permissions -p VHOST USER '.*' '.*' '.*'.", "请在服务器上执行：rabbitmqctl set_permissions -p 虚拟主机 用户 '.*' '.*' '.*'。"}},
	QueueShared:    {Warned, phrase{"%s is taken from by %d terminals", "有 %[2]d 个终端在接收 %[1]s"}, phrase{"Another terminal has the same MAC address: each gets only some of the commands.", "另有终端使用相同的 MAC 地址：各自只能收到部分命令。"}},
	QueueFailed:    {Failed, phrase{"%s: %v", "%s：%v"}, phrase{"See the broker's log.", "请查看服务器日志。"}},
}
