"""What a study says, as pure functions of records: no SQL, no clock, no sentences for people."""
