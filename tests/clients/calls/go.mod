module dekhand.example/clients/calls

go 1.21

// The lowest that any of the clients needs: each of them decides on its own.
require golang.org/x/net v0.0.0-20190311183353-d8887717615a

require golang.org/x/text v0.3.0 // indirect
