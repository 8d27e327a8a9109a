"""Reading a study from its storage and its dataset into records. Nothing here makes a call or writes."""
