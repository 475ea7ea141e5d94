"""What the prototype and its users say to each other; made here, so that no code has to be generated."""

from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

SERVICE = "prototype.Chat"

FIELDS = {
    "Message": ("string sender", "string to", "string text", "int64 time", "int64 number", "string id"),
    "Up": ("*Message messages",),  # a user's frame to the server; the user is in the call's metadata
    "Down": ("*Message messages", "*int64 acknowledged"),  # the server's frame to a user
    "Group": ("*Message messages", "int64 group"),  # from the server to a backup
    "GroupSaved": ("int64 group",),  # and back
}


def _message_classes() -> dict[str, Any]:
    """Protobuf classes for `FIELDS`, whose numbers count from 1; `*` means repeated."""
    field = descriptor_pb2.FieldDescriptorProto
    file = descriptor_pb2.FileDescriptorProto(name="prototype.proto", package="prototype", syntax="proto3")
    for name, fields in FIELDS.items():
        message = file.message_type.add(name=name)
        for number, (kind, field_name) in enumerate((text.split() for text in fields), start=1):
            label = field.LABEL_REPEATED if kind.startswith("*") else field.LABEL_OPTIONAL
            kind = kind.removeprefix("*")
            if kind in FIELDS:
                message.field.add(
                    name=field_name, number=number, label=label, type=field.TYPE_MESSAGE, type_name=f".prototype.{kind}"
                )
            else:
                scalar = {"string": field.TYPE_STRING, "int64": field.TYPE_INT64}[kind]
                message.field.add(name=field_name, number=number, label=label, type=scalar)
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return {name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"prototype.{name}")) for name in FIELDS}


_classes = _message_classes()
Message, Up, Down = _classes["Message"], _classes["Up"], _classes["Down"]
Group, GroupSaved = _classes["Group"], _classes["GroupSaved"]
