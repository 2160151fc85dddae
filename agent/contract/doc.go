// Package contract holds the acceptance list of a Natrix terminal: thirty
// checks of what a Natrix server relies on, most important first. Each of them
// is a test of the built program against a real RabbitMQ and real targets, in
// a network of its own:
//
//	go test ./agent/contract -run Check
//	go test ./agent/contract -run Check/19
package contract
