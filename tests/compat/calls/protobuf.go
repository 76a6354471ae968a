package calls

import (
	"encoding/binary"
	"errors"
)

// All fields of all messages of KMS are strings, bytes or messages: their wire type is 2, length-delimited.
const lengthDelimited = 2

// field is one field of a protobuf message.
func field(number int, value []byte) []byte {
	head := make([]byte, 2*binary.MaxVarintLen64)
	length := binary.PutUvarint(head, uint64(number)<<3|lengthDelimited)
	length += binary.PutUvarint(head[length:], uint64(len(value)))
	return append(head[:length], value...)
}

// parse gives the fields of a protobuf message by their number; of a repeated one the last.
func parse(message []byte) (map[int][]byte, error) {
	fields := map[int][]byte{}
	for len(message) > 0 {
		tag, size := binary.Uvarint(message)
		if size <= 0 || tag&7 != lengthDelimited {
			return nil, errors.New("a response has a field of an unexpected type")
		}
		message = message[size:]
		length, size := binary.Uvarint(message)
		if size <= 0 || length > uint64(len(message)-size) {
			return nil, errors.New("a response is cut off")
		}
		fields[int(tag>>3)] = message[size : size+int(length)]
		message = message[size+int(length):]
	}
	return fields, nil
}
